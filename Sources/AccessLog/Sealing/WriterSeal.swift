import DurableFiles
import KMSCore
import SystemPackage

/// What makes one writer's records one log that can be checked: its name and its tree.
struct WriterSeal: Sendable {
  let keyName: String
  /// The first line of its checkpoints. Each writer is a log of its own.
  let origin: String
  var tree = MerkleFrontier()
  /// Size of the tree that a checkpoint was last asked for.
  var asked: UInt64 = 0

  init(keyName: String) {
    self.keyName = keyName
    origin = "\(keyName)/\(KeyVersionID.make())"
  }
}

/// A writer's log that has its last record, and waits for its last checkpoint.
struct EndedLog: Sendable {
  let file: FileDescriptor
  let path: FilePath
  let checkpoint: Checkpoint

  /// Adds the checkpoint and closes the file. Without one, it is left to the next start.
  func finish(_ note: SignedNote?, durability: AccessLogSettings.Durability) throws {
    try file.closeAfter {
      guard let note else { return }
      try FileFailure.mapping("write", path) {
        try file.writeAll(EventLine.checkpoint(note).bytes)
        if durability == .synced { try sync(file) }
      }
    }
  }
}
