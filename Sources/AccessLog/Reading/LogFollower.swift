import DurableFiles
import KMSCore
public import SystemPackage

/// Gives the records that are written from now on, in all files of a folder. Open are only those that may grow.
public struct LogFollower: ~Copyable {
  private struct Position {
    let file: FileDescriptor
    var rest: [UInt8] = []
  }

  private let directory: FilePath
  private var positions: [String: Position] = [:]
  /// Files that have ended, and were read or passed over.
  private var ended: Set<String> = []

  /// What is in the folder already is passed over.
  ///
  /// - Throws: ``KMSError/Code/fileFailed`` or ``KMSError/Code/accessDenied``.
  public init(directory: FilePath) throws {
    self.directory = directory
    for name in try Self.names(directory) {
      guard let file = try open(name) else { continue }
      positions[name] = Position(file: file)
      if try isEnded(name, file) {
        leave(name, file)
      } else {
        _ = try mapping(name) { try file.seek(offset: 0, from: .end) }
      }
    }
  }

  private static func names(_ directory: FilePath) throws -> Set<String> {
    guard try FileStatus(directory) != nil else { return [] }
    return Set(try LogFileName.all(in: directory).filter { !$0.isCompressed }.map(\.description))
  }

  private func mapping<Value>(_ name: String, _ body: () throws -> Value) throws -> Value {
    try FileFailure.mapping("read", directory.appending(name), body)
  }

  /// Nil for one that was packed meanwhile: then it had ended before.
  private func open(_ name: String) throws -> FileDescriptor? {
    try mapping(name) {
      do {
        return try FileDescriptor.open(directory.appending(name), .readOnly, options: .closeOnExec)
      } catch Errno.noSuchFileOrDirectory { return nil }
    }
  }

  private func isEnded(_ name: String, _ file: FileDescriptor) throws -> Bool {
    try mapping(name) { try !FileStatus(file).isWritable }
  }

  private mutating func leave(_ name: String, _ file: FileDescriptor) {
    positions[name] = nil
    ended.insert(name)
    try? file.close()
  }

  /// What has come since the last call, file by file.
  public mutating func poll(
    matching filter: AccessFilter = AccessFilter(), _ body: (AccessRecord, _ line: ArraySlice<UInt8>) throws -> Void
  ) throws {
    let names = try Self.names(directory)
    ended.formIntersection(names)
    for name in names.subtracting(ended).union(positions.keys).sorted() {
      guard let file = try positions[name]?.file ?? open(name) else { continue }
      if positions[name] == nil { positions[name] = Position(file: file) }
      // Asked before it is read: then nothing comes after.
      let isEnded = try isEnded(name, file)
      try read(name, filter, body)
      if isEnded || !names.contains(name) { leave(name, file) }
    }
  }

  private mutating func read(
    _ name: String, _ filter: AccessFilter, _ body: (AccessRecord, ArraySlice<UInt8>) throws -> Void
  ) throws {
    guard var position = positions[name] else { return }
    defer { positions[name] = position }
    while true {
      let chunk = try mapping(name) {
        try unsafe [UInt8](unsafeUninitializedCapacity: 1 << 16) { memory, count in  // read() fills it
          count = try unsafe position.file.read(into: UnsafeMutableRawBufferPointer(memory))  // within its capacity
        }
      }
      if chunk.isEmpty { return }
      var rest = (position.rest + chunk)[...]
      while let end = rest.firstIndex(of: 0x0A) {
        if let record = AccessRecord(line: rest[..<end]), filter.matches(record) { try body(record, rest[..<end]) }
        rest = rest[(end + 1)...]
      }
      position.rest = Array(rest)
    }
  }

  deinit {
    for position in positions.values { try? position.file.close() }
  }
}
