internal import DurableFiles
public import Envelope
public import KMSCore
public import SystemPackage

/// Encrypted files, and folders of them, as a source.
///
/// In a folder, what is no envelope is passed over, and links are not followed. A file that is named itself must be
/// one.
public struct EnvelopeFiles: RewrapSource {
  /// Files in folders that are no envelopes.
  public private(set) var passedOver = 0

  private let context: EncryptionContext
  private let replacement: FileReplacement?
  /// What is still to be looked at, the next one last.
  private var pending: [(path: FilePath, isNamed: Bool)]
  private var cleaned: Set<FilePath> = []
  /// Those that were given and not replaced yet, the oldest first.
  private var batches: [[(path: FilePath, old: [UInt8])]] = []
  /// Files that were looked at, of all that there are; counted before the first is opened.
  private var looked = 0
  private var total: Int?

  private static let batchCount = 64
  private static let batchBytes = 4 << 20

  /// - Parameters:
  ///   - paths: files and folders.
  ///   - context: what every one of them was encrypted with.
  ///   - replacement: how files are changed; nil when they are only looked at.
  public init(_ paths: [FilePath], context: EncryptionContext = .empty, replacement: FileReplacement? = .atomic) {
    pending = paths.reversed().map { ($0, true) }
    self.context = context
    self.replacement = replacement
  }

  public var fractionDone: Double? { total.map { $0 > 0 ? min(1, Double(looked) / Double($0)) : 1 } }

  public mutating func nextBatch() async throws -> [StoredEnvelope]? {
    if total == nil {
      let paths = pending.map(\.path)
      total = try await fileJob { _ in paths.reduce(0) { $0 + countFiles($1) } }
    }
    var reader = Reader(pending: pending, context: context, changes: replacement != nil, cleaned: cleaned)
    let (read, items, old) = try await fileJob { [reader] _ in
      var reader = reader
      let (items, old) = reader.read(count: Self.batchCount, bytes: Self.batchBytes)
      return (reader, items, old)
    }
    reader = read
    pending = reader.pending
    cleaned = reader.cleaned
    passedOver += reader.passedOver
    looked += reader.looked
    guard !items.isEmpty || !pending.isEmpty else { return nil }
    batches.append(old)
    return items
  }

  public mutating func replace(_ new: [Int: [UInt8]]) async throws -> [Int: KMSError] {
    let batch = batches.removeFirst()
    guard let replacement else { return [:] }
    return try await fileJob { _ in
      var refused: [Int: KMSError] = [:]
      for (index, bytes) in new {
        let (path, old) = batch[index]
        do {
          if EnvelopeKind.detect(old) == .file {
            try EnvelopeFile.replaceHeader(of: path, from: old, to: bytes, replacement)
          } else {
            try EnvelopeFile.replaceContent(of: path, from: old, to: bytes)
          }
        } catch { refused[index] = error.asKMSError }
      }
      return refused
    }
  }

  public mutating func finish() async throws {}
}

/// Looks into folders and files, on a thread that may block.
private struct Reader: Sendable {
  var pending: [(path: FilePath, isNamed: Bool)]
  var passedOver = 0
  /// Everything that is no folder.
  var looked = 0
  let context: EncryptionContext
  /// Whether what killed runs left is finished and removed.
  let changes: Bool
  /// Folders of files that were named.
  var cleaned: Set<FilePath>

  init(
    pending: [(path: FilePath, isNamed: Bool)], context: EncryptionContext, changes: Bool, cleaned: Set<FilePath>
  ) {
    self.pending = pending
    self.context = context
    self.changes = changes
    self.cleaned = cleaned
  }

  mutating func read(count: Int, bytes: Int) -> ([StoredEnvelope], [(path: FilePath, old: [UInt8])]) {
    var (items, olds, size): ([StoredEnvelope], [(path: FilePath, old: [UInt8])], Int) = ([], [], 0)
    while items.count < count, size < bytes, let (path, isNamed) = pending.popLast() {
      looked += 1
      do {
        guard let (old, kind) = try look(at: path, isNamed: isNamed) else { continue }
        size += old.count
        olds.append((path, old))
        items.append(
          StoredEnvelope(
            name: path.string, envelope: .success(old), context: context, file: kind == .file ? path : nil))
      } catch {
        olds.append((path, []))
        items.append(StoredEnvelope(name: path.string, envelope: .failure(error.asKMSError), context: context))
      }
    }
    return (items, olds)
  }

  /// The envelope that is there, nil for a folder and what is passed over.
  private mutating func look(at path: FilePath, isNamed: Bool) throws -> ([UInt8], EnvelopeKind)? {
    guard let status = try FileStatus(path, followingLinks: isNamed) else {
      throw FileFailure.error("read", path, .noSuchFileOrDirectory)
    }
    guard !status.isFolder else {
      looked -= 1
      for name in try folderEntries(path).reversed() { enqueue(name, in: path) }
      return nil
    }
    guard status.isRegularFile else {
      guard isNamed else { return nil }
      throw KMSError(.invalidInput, "\(path) is no file or folder", advice: "Name a file or a folder.")
    }
    if isNamed, changes, cleaned.insert(path.removingLastComponent()).inserted {
      try? AtomicFile.removeLeftovers(in: path.removingLastComponent())  // a folder that cannot be listed will do
    }
    try finishJournal(of: path)
    let descriptor = try FileEndpoint.path(path).open().descriptor
    return try FileFailure.mapping("read", path) {
      try descriptor.closeAfter {
        let start = try descriptor.readFully(upTo: 64)
        guard let kind = EnvelopeKind.detect(start) else {
          if isNamed { throw Self.noEnvelope(isEmpty: start.isEmpty) }
          passedOver += 1
          return nil
        }
        guard kind != .file else { return (try FileStream.readHeader(from: descriptor, after: start).1, kind) }
        return (start + (try readAll(descriptor, limit: 2 * DataAtRestManager.fieldLimit, name: path.string)), kind)
      }
    }
  }

  private mutating func enqueue(_ name: FilePath.Component, in folder: FilePath) {
    let path = folder.appending(name)
    if HeaderJournal.isJournal(name.string) {
      looked += 1  // finished with its file
    } else if AtomicFile.isTemporary(name.string) {
      looked += 1
      if changes { AtomicFile.removeLeftover(path) }
    } else {
      pending.append((path, false))
    }
  }

  private func finishJournal(of path: FilePath) throws {
    let journal = HeaderJournal(for: path)
    if changes {
      try journal.finish()
    } else if journal.exists {
      throw journal.cutOff
    }
  }

  private static func noEnvelope(isEmpty: Bool) -> KMSError {
    KMSError(
      .malformedEnvelope, isEmpty ? "the file is empty" : "this is no envelope",
      advice: "Nothing was changed; for a table name its columns with --column.")
  }
}
