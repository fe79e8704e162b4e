import CryptoPrimitives
import DurableFiles
public import KMSCore
public import SystemPackage

/// Checks a folder's sealed log with nothing but public keys: no provider, no network.
public struct LogVerifier: Sendable {
  private let directory: FilePath
  private let keys: [LogVerifierKey]
  private let now: Timestamp
  private let patience: Duration

  /// - Parameters:
  ///   - directory: folder of the log, or a copy of it.
  ///   - keys: of which one must have signed each checkpoint.
  ///   - now: when the folder was copied: a log whose last record is just older may still be written.
  ///   - patience: how late a heartbeat or checkpoint, which come every minute, may be; a busy machine is late.
  public init(
    directory: FilePath, keys: [LogVerifierKey], now: Timestamp = .now(), patience: Duration = .seconds(150)
  ) {
    self.patience = patience
    self.directory = directory
    self.keys = keys
    self.now = now
  }

  /// Reads everything, and says what is not as it was written.
  ///
  /// The index is read before the files, and a copy may have it from before or after them. So a log that was begun less
  /// than `patience` ago may stand in one and not in the other. Whoever takes such a young log away, or its line, is found
  /// once it is older, and not before: when a log was begun stands in its name, which its checkpoints sign and the index
  /// holds, so nothing older can be passed off as young.
  ///
  /// Memory grows with the records between two checkpoints, and with the number of writers; not with the log.
  /// - Throws: ``KMSError/Code/fileNotFound`` when there is no such folder, or no log in it.
  public func verify() throws -> LogVerification {
    var result = LogVerification()
    guard try FileStatus(directory)?.isFolder == true else {
      throw KMSError(.fileNotFound, "there is no folder \(directory)", advice: "Name the folder of an access log.")
    }
    let (index, lines) = readIndex(&result)
    let removed = readRemovals(index, &result)
    let logs = try group(&result)
    result.logs = logs.count
    for log in logs { check(log, index, lines, removed[log.origin] ?? [], &result) }
    checkMissing(logs, index, removed, &result)
    guard result.files > 0 || !index.isEmpty || !removed.isEmpty || !result.isSound else {
      throw KMSError(
        .fileNotFound, "there is no access log in \(directory)",
        advice: "Name the folder that 'access-log.path' names. If there was a log in it, it is gone.")
    }
    return result
  }

  private struct WriterFiles {
    let origin: String
    var files: [(name: LogFileName, introduction: FileIntroduction)]
  }

  /// The files of each writer, in the order in which they were written.
  private func group(_ result: inout LogVerification) throws -> [WriterFiles] {
    var logs: [WriterFiles] = []
    var positions: [String: Int] = [:]
    for name in try LogFileName.all(in: directory) {
      result.files += 1
      do {
        guard let introduction = try FileIntroduction(of: directory.appending(name.description)) else {
          // A writer may die before it has written anything.
          let isEmpty = try FileStatus(directory.appending(name.description))?.size == 0
          if !isEmpty {
            result.add(.foreignFile, name.description, line: 1, nil, "its first record does not say whose file it is")
          }
          continue
        }
        if introduction.file != name.original {
          result.add(.foreignFile, name.description, line: 1, nil, "it was written as \(introduction.file)")
        }
        if let position = positions[introduction.origin] {
          logs[position].files.append((name, introduction))
        } else {
          positions[introduction.origin] = logs.count
          logs.append(WriterFiles(origin: introduction.origin, files: [(name, introduction)]))
        }
      } catch let error as KMSError {
        result.add(.unreadable, name.description, nil, error.message)
      }
    }
    for i in logs.indices { logs[i].files.sort { $0.introduction.tree.size < $1.introduction.tree.size } }
    return logs
  }

  private func check(
    _ log: WriterFiles, _ index: [String: IndexEntry], _ lines: Set<TreeHash>, _ removed: [RemovedFile],
    _ result: inout LogVerification
  ) {
    var writer = WriterCheck(origin: log.origin, keys: keys, patience: patience)
    let gone = Self.removedUpTo(removed)
    for (name, introduction) in log.files {
      do {
        try writer.read(name, in: directory, introduction, removed: { $0 <= gone }, &result)
      } catch {
        result.add(.unreadable, name.description, nil, (error as? KMSError)?.message ?? "it cannot be read")
      }
    }
    writer.finish(now: now, end: index[log.origin]?.end, &result)
    for (name, introduction) in log.files where introduction.tree.size > 0 {
      if let vouched = introduction.index, !lines.contains(vouched), !isYoung(name.started) {
        result.add(.index, name.description, line: 1, nil, "the index has no line any more that stood there before")
      }
    }
    let first = log.files[0]
    guard first.introduction.tree.size == 0 else { return }
    if let entry = index[log.origin] {
      if first.introduction.index != entry.hash || first.introduction.file != entry.file {
        result.add(.index, first.name.description, line: 1, nil, "the index has another line for this log")
      }
    } else if !isYoung(LogTree.begun(log.origin)), !isBareBeginning(log) {
      result.add(.index, first.name.description, line: 1, nil, "the index has no line for this log")
    }
  }

  /// What was begun at that time may be in the folder, and not yet in what was read or copied before.
  private func isYoung(_ begun: Timestamp?) -> Bool {
    begun.map { $0.advanced(by: patience) > now && $0 < now.advanced(by: patience) } == true
  }

  /// A writer that was killed between its first record and its line in the index has logged nothing.
  private func isBareBeginning(_ log: WriterFiles) -> Bool {
    guard log.files.count == 1, let lines = try? LineSource(directory.appending(log.files[0].name.description)) else {
      return false
    }
    while let (line, _) = try? lines.next() {
      if let head = RecordHead(line), !head.type.isOwn { return false }
    }
    return true
  }

  /// The last record of those that were deleted from the log's beginning on, without a gap.
  private static func removedUpTo(_ removed: [RemovedFile]) -> UInt64 {
    removed.reduce(0) { $1.first == $0 + 1 ? $1.last : $0 }
  }

  /// Writers that the index knows and that have no file.
  private func checkMissing(
    _ logs: [WriterFiles], _ index: [String: IndexEntry], _ removed: [String: [RemovedFile]],
    _ result: inout LogVerification
  ) {
    let present = Set(logs.map(\.origin))
    for origin in Set(index.keys).union(removed.keys).subtracting(present).sorted() {
      let files = removed[origin] ?? []
      let isWhole = Self.removedUpTo(files) == files.last?.last && files.last?.isEnd == true
      if files.isEmpty, isYoung(LogTree.begun(origin)) {
        result.open += 1
      } else if !isWhole {
        result.add(
          .missingLog, WriterIndex.name, nil,
          files.isEmpty
            ? "every file of the log \(origin) is gone"
            : "the log \(origin) is gone; that only its records up to \(Self.removedUpTo(files)) were deleted is on record"
        )
      }
    }
  }

  // MARK: The folder's own lists

  /// What the index says of a writer.
  private struct IndexEntry {
    /// Of its line.
    let hash: TreeHash
    /// Its first.
    let file: String
    /// What its end was.
    var end: String?
  }

  /// And the hashes of all its lines.
  private func readIndex(_ result: inout LogVerification) -> ([String: IndexEntry], Set<TreeHash>) {
    var index: [String: IndexEntry] = [:]
    var hashes: Set<TreeHash> = []
    var previous = TreeHasher.empty
    readLines(WriterIndex.name, &result) { line, number, result in
      switch WriterIndex.Entry(line, after: previous) {
      case nil: result.add(.index, WriterIndex.name, line: number, nil, "the line does not follow from the one before")
      case let entry? where entry.event == .began:
        index[entry.log] = IndexEntry(hash: WriterIndex.hash(line), file: entry.text)
      case let entry?:
        if index[entry.log].map({ $0.end == nil }) == true {
          index[entry.log]?.end = entry.text
        } else {
          result.add(.index, WriterIndex.name, line: number, nil, "a log that did not begin, or had ended, ends here")
        }
      }
      previous = WriterIndex.hash(line)
      hashes.insert(previous)
    }
    return (index, hashes)
  }

  private func readRemovals(
    _ index: [String: IndexEntry], _ result: inout LogVerification
  ) -> [String: [RemovedFile]] {
    var removed: [String: [RemovedFile]] = [:]
    readLines(RemovedFile.name, &result) { line, number, result in
      guard let note = RemovedFile.note(in: line), keys.contains(where: { $0.verifies(note) }),
        let entry = RemovedFile(text: note.text)
      else {
        result.add(.removal, RemovedFile.name, line: number, nil, "a deletion that the key did not sign")
        return
      }
      guard entry.until.advanced(by: .seconds(entry.keepSeconds)) <= entry.removed else {
        result.add(.removal, RemovedFile.name, line: number, entry.first...entry.last, "deleted before its time")
        return
      }
      // A clock may have been set back, but not by as long as files are kept.
      let isOlder = LogTree.begun(entry.origin).map { entry.until.advanced(by: .seconds(86_400)) < $0 } == true
      let isElsewhere = entry.first == 1 && index[entry.origin].map { $0.file != entry.file } == true
      guard !isOlder, !isElsewhere else {
        result.add(
          .removal, RemovedFile.name, line: number, entry.first...entry.last,
          isOlder ? "a file from before its log was begun" : "a file in which its log did not begin")
        return
      }
      result.removed += 1
      // A deletion that was cut off is recorded again.
      if removed[entry.origin]?.last?.last != entry.last { removed[entry.origin, default: []].append(entry) }
    }
    return removed
  }

  private func readLines(
    _ name: String, _ result: inout LogVerification,
    _ body: (ArraySlice<UInt8>, Int, inout LogVerification) -> Void
  ) {
    let path = directory.appending(name)
    do {
      guard try FileStatus(path) != nil else { return }
      let lines = try LineSource(path)
      while let (line, isWhole) = try lines.next() {
        // The last one may be half: its writer was killed, and the next one removes it.
        if isWhole || !lines.isAtEnd { body(line, lines.number, &result) }
      }
    } catch {
      result.add(.unreadable, name, nil, (error as? KMSError)?.message ?? "it cannot be read")
    }
  }
}
