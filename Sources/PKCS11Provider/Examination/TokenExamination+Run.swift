public import KMSCore
internal import PKCS11
internal import Synchronization

extension TokenExamination {
  /// Opens the token, logs in and tries everything.
  ///
  /// - Parameters:
  ///   - module: path of the PKCS#11 module.
  ///   - initArguments: a text for its start, which NSS wants.
  ///   - label: the token's; nil when there is one only.
  ///   - pin: where the user's PIN is; it is tried once.
  ///   - deadline: of each part; one that takes longer is told as a quirk, and ends the examination.
  ///   - measures: whether calls are timed, too, for some seconds.
  /// - Throws: ``KMSError`` when the token cannot be opened, or there are no threads to do it.
  public static func run(
    module: String, initArguments: String? = nil, token label: String? = nil, pin: SecretSource,
    deadline: Duration = .seconds(30),
    measures: Bool = true
  ) async throws -> TokenExamination {
    let lane = Lane(pace: Pace(isFast: false))
    try Watchdog.shared.watch(lane, deadline: deadline)
    let secret = SharedSecret(try pin.read())
    let opened = try await lane.run(until: .now + deadline) {
      Result { try Examiner(module: module, arguments: initArguments, label: label, pin: secret.bytes) }
    }
    guard let examiner = try opened?.get() else { throw SessionPool.tooLate(deadline) }
    for step in Examiner.steps where measures || !step.isMeasurement {
      let isDone = try await lane.run(until: .now + deadline) { () -> Bool in
        step.run(examiner)
        return true
      }
      guard isDone == true else {
        var result = examiner.result.withLock { $0 }
        result.quirks.append("a call hangs (\(step.name)): its caller is let go after the deadline")
        return result
      }
    }
    if measures { try await examiner.measureScaling(deadline) }
    return examiner.result.withLock { $0 }
  }
}
