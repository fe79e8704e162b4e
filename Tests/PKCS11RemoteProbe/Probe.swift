import Glibc
internal import KMSCore
internal import PKCS11Provider
internal import Synchronization

/// Run by RemoteTokenTests, as the address of a server is that of a whole process: eight tasks wrap and unwrap until
/// so many keys came back right, whatever becomes of the server. With "idle" it waits for a line before it begins.
///
///     PKCS11RemoteProbe URI PIN COUNT DEADLINE-IN-SECONDS [idle]
@main struct Probe {
  static func main() async throws {
    // An application that knows nothing of pipes: SIGPIPE ends it.
    signal(SIGPIPE, SIG_DFL)
    let (arguments, tally) = (CommandLine.arguments, Tally())
    guard arguments.count >= 5, let count = Int(arguments[3]), let deadline = Int(arguments[4]) else { exit(2) }
    let pin = arguments[2]
    let provider = PKCS11Provider(
      PKCS11Configuration(
        name: "remote", tokens: [try PKCS11URI(parsing: arguments[1])],
        pin: SecretSource(description: "test") { SecretBytes(copying: Array(pin.utf8).span) },
        deadline: .seconds(deadline), wrapAlgorithms: [.rsaOAEPSHA1]))
    let key = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("k"))).id
    if arguments.count == 6 {
      // The public key wraps in this process, and fast: after some, calls are made on the threads that ask.
      for _ in 0..<32 { _ = try await provider.wrap(.random(count: 32), under: key, aad: [1]) }
      print("idle, \(try await provider.isInline() ? "calls" : "does not call") inline")
      fflush(nil)
      _ = readLine()
    }
    await withTaskGroup { group in
      for _ in 0..<8 {
        group.addTask {
          while tally.right < count { await use(provider, key, tally) }
        }
      }
    }
    print(tally.report)
    await provider.close()
  }

  private static func use(_ provider: PKCS11Provider, _ key: KeyVersionID, _ tally: Tally) async {
    let secret = SecretBytes.random(count: 32)
    do {
      let wrapped = try await tally.timing { try await provider.wrap(secret, under: key, aad: [1]) }
      let back = try await tally.timing { try await provider.unwrap(wrapped, under: key, aad: [1]) }
      tally.add(isRight: back.equals(secret))
    } catch let error as KMSError {
      tally.add("\(error.code)")
      try? await Task.sleep(for: .milliseconds(50))
    } catch { tally.add(isRight: false) }
  }
}

private final class Tally: Sendable {
  private struct State {
    var right = 0
    var wrong = 0
    var errors: [String: Int] = [:]
    /// Since the last right answer.
    var isFailing = false
    var slowest = Duration.zero
  }
  private let state = Mutex(State())

  var right: Int { state.withLock { $0.right } }

  /// What a call takes, right or not.
  func timing<R: ~Copyable>(_ call: () async throws -> R) async throws -> R {
    let start = ContinuousClock.now
    defer {
      let took = ContinuousClock.now - start
      state.withLock { $0.slowest = max($0.slowest, took) }
    }
    return try await call()
  }

  func add(isRight: Bool) {
    let (right, isAgain) = state.withLock { state in
      guard isRight else {
        state.wrong += 1
        return (1, false)
      }
      defer { state.isFailing = false }
      state.right += 1
      return (state.right, state.isFailing)
    }
    if isAgain { print("again \(Double(monotonicNanoseconds()) / 1e6)") }
    if right.isMultiple(of: 1000) { print("at \(right)") }
    fflush(nil)
  }

  func add(_ error: String) {
    let isFirst = state.withLock { state in
      state.errors[error, default: 0] += 1
      defer { state.isFailing = true }
      return !state.isFailing
    }
    guard isFirst else { return }
    print("failing")
    fflush(nil)
  }

  var report: String {
    state.withLock { state in
      let errors = state.errors.map { "error \($0.key) \($0.value)" }.sorted()
      return
        (["right \(state.right)", "wrong \(state.wrong)"] + errors + [
          "slowest \(state.slowest / .milliseconds(1))"
        ]).joined(separator: "\n")
    }
  }
}
