import DurableFiles
import SystemPackage

/// A writer's log that has its last record, and waits for its last checkpoint.
struct EndedLog: Sendable {
  let file: FileDescriptor
  let path: FilePath
  let checkpoint: Checkpoint

  /// Adds the checkpoint, says in the index that it ended so, and closes the file. Without one, it is left to the next
  /// start.
  func finish(_ note: SignedNote?, durability: AccessLogSettings.Durability) throws {
    try file.closeAfter {
      guard let note else { return }
      try FileFailure.mapping("write", path) {
        try file.writeAll(EventLine.checkpoint(note).bytes)
        if durability == .synced { try sync(file) }
      }
      try WriterIndex(path.removingLastComponent(), durability).add(end: checkpoint)
      LogFiles.makeReadOnly(file)
    }
  }
}
