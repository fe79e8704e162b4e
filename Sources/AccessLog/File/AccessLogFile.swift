import Dispatch
public import KMSCore
package import SystemPackage

/// The access log of one process: JSON Lines in a file of its own, in a folder that many processes may share.
/// Lines are written by its ``LogCommitter``.
public final class AccessLogFile: AccessReporter, Sendable {
  /// Whether operations without a principal are refused.
  public let requiresPrincipal: Bool
  private let settings: AccessLogSettings
  private let signer: LogSigner?
  private let aftercare: LogAftercare
  private let committer: LogCommitter
  private let onOwn: @Sendable (AccessEvent) -> Void
  private let heart = DispatchQueue(label: "access-log-heartbeat")

  /// Makes the folder (0700) where there is none, and in it a new file (0600). Waits for it no longer than the deadline.
  ///
  /// - Throws: ``KMSError/Code/accessLogUnavailable``, ``KMSError/Code/configurationInvalid``.
  ///
  /// - Parameters:
  ///   - signer: signs checkpoints; nil leaves the log without.
  ///   - onOwn: told of each call that signs a checkpoint, or fails to, and of copies that were lost; it must not block.
  public convenience init(
    _ settings: AccessLogSettings, signer: LogSigner? = nil,
    onOwn: @escaping @Sendable (AccessEvent) -> Void = { _ in }
  ) throws {
    try settings.validate()
    let tree = signer.map { LogTree(keyName: $0.keyName) }
    guard
      let writer = DiskThreads.shared.run(atMost: settings.deadlineNanoseconds, { LineWriter.begin(settings, tree) })
    else { throw LogCommitter.late("the access log's folder \(settings.directory) did not answer within its deadline") }
    self.init(settings, try writer.get(), tree, signer, onOwn)
    aftercare.copies.begin(settings.copies) { [weak self] in await self?.tell(lost: $0, by: $1) ?? false }
    aftercare.upkeep.begin()
    if signer != nil { beat() }
  }

  /// Writes to `descriptor` until that fails, then to files as usual. For tests.
  ///
  /// - Parameter mayBlock: nil: as the descriptor's kind has it.
  package convenience init(
    _ settings: AccessLogSettings, takingOwnershipOf descriptor: FileDescriptor, mayBlock: Bool? = nil
  ) throws {
    try settings.validate()
    self.init(settings, LineWriter(settings, takingOwnershipOf: descriptor, mayBlock: mayBlock))
  }

  private init(
    _ settings: AccessLogSettings, _ writer: consuming LineWriter, _ tree: LogTree? = nil,
    _ signer: LogSigner? = nil, _ onOwn: @escaping @Sendable (AccessEvent) -> Void = { _ in }
  ) {
    self.settings = settings
    self.signer = signer
    self.onOwn = onOwn
    requiresPrincipal = settings.requiresPrincipal
    aftercare = LogAftercare(
      upkeep: LogUpkeep(settings, signer: signer), signing: signer.map { CheckpointSigning($0, onSigning: onOwn) })
    committer = LogCommitter(settings, writer, tree, aftercare)
  }

  /// Returns when the event is written, and on the disk where the log is `synced`.
  ///
  /// Cancelling the task changes nothing: what was done is logged.
  /// - Throws: ``KMSError/Code/accessLogUnavailable`` on a failure or after the deadline. The next event is tried
  ///   anew.
  public func report(_ event: AccessEvent) async throws {
    try await committer.commit(EventLine(event))
  }

  /// The same for events that belong together: they are written in one go.
  public func report(_ events: [AccessEvent]) async throws {
    if !events.isEmpty { try await committer.commit(events.map { EventLine($0) }) }
  }

  /// Of lines that a target of copies lost. False when the log does not take it now.
  private func tell(lost count: Int, by name: String) async -> Bool {
    let lost = EventLine.copiesLost(count, name)
    guard (try? await committer.commit([.copiesLost(lost)])) != nil else { return false }
    onOwn(lost)
    return true
  }

  /// Waits for what is on its way, and closes the file. Events that come later fail.
  ///
  /// A disk that stands is waited for as long as an event is; what is not ended then, the next start ends.
  public func close() async {
    if await isSealed() { _ = await aftercare.upkeep.finish(patience: settings.deadlineNanoseconds) }
    try? await committer.commit([], .close)  // it can only be late, or closed already
    await aftercare.copies.finish()  // of events that came meanwhile
  }

  /// Ends this process' log by a record and a checkpoint that covers all. Events may follow: they begin another.
  ///
  /// Copies are waited for, some seconds at most; before the last record, it says what they lost. Without a signer that
  /// is all there is to be done. Where the checkpoint fails, the next start makes it.
  public func seal() async { _ = await isSealed() }

  /// Seals it; false when the disk stands.
  private func isSealed() async -> Bool {
    let isEnded = await isEnded()
    await aftercare.copies.finish()
    return isEnded
  }

  private func isEnded() async -> Bool {
    let deadline = settings.deadlineNanoseconds
    if signer != nil {
      guard await aftercare.upkeep.crashedLogsAreClosed(patience: deadline) else { return false }
      await aftercare.signing?.finish()
    }
    await aftercare.copies.finish()
    await aftercare.copies.tellLost()
    guard let signer else { return true }
    let mailbox = CommitQueue.Mailbox()
    guard (try? await committer.commit([], .end(mailbox))) != nil else { return false }
    guard let ended = mailbox.take() else { return true }  // sealed already
    let note = try? await signer.sign(ended.checkpoint.text)
    return await within(deadline) { [settings, aftercare] in
      try? ended.finish(note, durability: settings.durability) { aftercare.copies.offer($0) }
    }
  }

  /// One that was dropped is not sealed, and locks its file no longer than its lines are on their way.
  deinit { _ = committer.commitLater([], .close) }

  private func beat() {
    heart.asyncAfter(deadline: .now() + .nanoseconds(Int(settings.heartbeatNanoseconds))) { [weak self] in
      // By no task: it must not wait for the others of a busy process. A log that does not take it shows that.
      guard let self, committer.commitLater([.heartbeat()], .checkpoint) else { return }
      beat()
    }
  }
}
