import DurableFiles
import SystemPackage

/// A writer's log that has its last record, and waits for its last checkpoint.
struct EndedLog: Sendable {
  let file: FileDescriptor
  let path: FilePath
  let checkpoint: Checkpoint

  /// Adds the checkpoint, says in the index that it ended so, and closes the file. Without one, it is left to the next
  /// start.
  ///
  /// - Parameter onWritten: given the checkpoint's line when it is in the file.
  func finish(
    _ note: SignedNote?, durability: AccessLogSettings.Durability, onWritten: ([UInt8]) -> Void
  ) throws {
    try file.closeAfter {
      guard let note else { return }
      let line = EventLine.checkpoint(note).bytes
      try FileFailure.mapping("write", path) {
        try file.writeAll(line)
        if durability == .synced { try sync(file) }
      }
      onWritten(line)
      try WriterIndex(path.removingLastComponent(), durability).add(end: checkpoint)
      LogFiles.makeReadOnly(file)
    }
  }
}
