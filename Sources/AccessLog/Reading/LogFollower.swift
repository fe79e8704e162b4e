import DurableFiles
import KMSCore
public import SystemPackage

/// Gives the records that are written from now on, in all files of a folder.
public struct LogFollower: ~Copyable {
  private struct Position {
    let file: FileDescriptor
    var rest: [UInt8] = []
  }

  private let directory: FilePath
  private var positions: [String: Position] = [:]

  /// What is in the folder already is passed over.
  public init(directory: FilePath) throws {
    self.directory = directory
    for name in try Self.names(directory) {
      let file = try FileDescriptor.open(directory.appending(name), .readOnly, options: .closeOnExec)
      _ = try file.seek(offset: 0, from: .end)
      positions[name] = Position(file: file)
    }
  }

  private static func names(_ directory: FilePath) throws -> [String] {
    guard try FileStatus(directory) != nil else { return [] }
    return try LogFileName.all(in: directory).filter { !$0.isCompressed }.map(\.description)
  }

  /// What has come since the last call, file by file.
  public mutating func poll(
    matching filter: AccessFilter = AccessFilter(), _ body: (AccessRecord, _ line: ArraySlice<UInt8>) throws -> Void
  ) throws {
    let names = try Self.names(directory)
    for name in names where positions[name] == nil {
      // Packed meanwhile: then it is one that was finished before.
      guard let file = try? FileDescriptor.open(directory.appending(name), .readOnly, options: .closeOnExec) else {
        continue
      }
      positions[name] = Position(file: file)
    }
    for name in positions.keys.sorted() {
      try read(name, filter, body)
      guard !names.contains(name), let gone = positions.removeValue(forKey: name) else { continue }
      try? gone.file.close()
    }
  }

  private mutating func read(
    _ name: String, _ filter: AccessFilter, _ body: (AccessRecord, ArraySlice<UInt8>) throws -> Void
  ) throws {
    guard var position = positions[name] else { return }
    defer { positions[name] = position }
    while true {
      let chunk = try FileFailure.mapping("read", directory.appending(name)) {
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
