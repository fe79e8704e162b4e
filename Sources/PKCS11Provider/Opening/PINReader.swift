internal import KMSCore
internal import PKCS11
internal import Synchronization

/// Reads the PIN, on a thread of its own: a source can hang (a file on a server that is gone, a program), and what hangs
/// cannot be called back. So there is one reading at a time.
final class PINReader: Sendable {
  let source: SecretSource
  private let deadline: Duration
  private let isReading = Atomic(false)

  /// - Parameter deadline: of each call.
  init(_ source: SecretSource, deadline: Duration) {
    self.source = source
    self.deadline = deadline
  }

  /// - Throws: ``KMSError/Code/secretUnavailable`` while a reading hangs that nobody waits for any more.
  func check() throws { if isReading.load(ordering: .relaxed) { throw Self.hangs(source) } }

  /// - Throws: ``KMSError/Code/secretUnavailable``, also when it takes too long.
  func read() async throws -> SharedSecret {
    let lane = Lane(pace: Pace(isFast: false))
    try Watchdog.shared.watch(lane, deadline: deadline)
    isReading.store(true, ordering: .relaxed)
    let answer: Result<SharedSecret, any Error>?
    do throws(KMSError) {
      answer = try await lane.run(until: .now + source.patience(deadline)) { [self] in
        defer { isReading.store(false, ordering: .relaxed) }
        return Result { SharedSecret(try source.read()) }
      }
    } catch {
      isReading.store(false, ordering: .relaxed)
      throw error
    }
    guard let answer else { throw Self.hangs(source) }
    return try answer.get()
  }

  static func hangs(_ source: SecretSource) -> KMSError {
    KMSError(
      .secretUnavailable, "the PIN's source \(source) does not answer",
      advice: "Check what it reads from; it is asked again when it has answered.")
  }
}

extension SecretSource {
  // A password manager's may ask one.
  private var isCommand: Bool { description.hasPrefix("command:") }

  /// Whether somebody may be asked, for whom callers wait.
  var mayAskAPerson: Bool { asksAPerson || isCommand }

  /// For how long its answer is waited for.
  func patience(_ deadline: Duration) -> Duration {
    asksAPerson ? .seconds(86_400) : isCommand ? .seconds(120) : deadline
  }
}
