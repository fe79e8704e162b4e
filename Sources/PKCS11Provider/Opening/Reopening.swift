package import KMSCore
package import PKCS11
internal import Synchronization

/// When a token that was lost, or did not open, is tried again.
package struct Reopening {
  private let interval: Duration
  private var lastAttempt: Moment?
  private var notBefore: Moment?
  private var reason: KMSError?

  package init(interval: Duration) { self.interval = interval }

  /// - Throws: what went wrong last, while it is too early.
  package mutating func begin(isAnew: Bool, now: Moment = .now) throws {
    if let notBefore, now < notBefore, let reason { throw reason }
    if isAnew { lastAttempt = now }
    notBefore = nil
  }

  /// The first time at once; then at most once in the interval, and a little more by chance, so that not all nodes
  /// come at once.
  package mutating func lost(_ error: KMSError, now: Moment = .now) {
    guard let lastAttempt else { return }
    wait(from: lastAttempt)
    reason = KMSError(
      .providerUnavailable, "the token was lost, and is opened again within \(interval)",
      advice: "Check the HSM and its connection. The last error: \(error.message).", cause: error.cause)
  }

  package mutating func failed(_ error: KMSError, now: Moment = .now) {
    // What a person must correct is looked at anew each time; a PIN is not tried twice in any case.
    guard error.code == .providerUnavailable || error.code == .deadlineExceeded || error.code == .providerFailed else {
      return
    }
    wait(from: now)
    reason = error
  }

  private mutating func wait(from moment: Moment) {
    notBefore = moment + interval * Double.random(in: 1...1.1)
  }
}

/// PINs that tokens refused. They are not tried again: tokens lock.
final class RefusedPINs: Sendable {
  private final class Entry: Sendable {
    let pin: SecretBytes
    init(_ pin: consuming SecretBytes) { self.pin = pin }
  }
  private let entries = Mutex<[String: Entry]>([:])

  /// - Throws: ``KMSError/Code/accessDenied`` when this token refused this PIN.
  func check(_ pin: borrowing SecretBytes, of token: Token, source: SecretSource) throws {
    guard let refused = entries.withLock({ $0[token.serial + token.label] }) else { return }
    let same = refused.pin.equals(pin)
    guard !same else {
      throw KMSError(
        .accessDenied, "the token refused this PIN, and it is not tried again",
        advice: "Correct the PIN in \(source).")
    }
  }

  func add(_ pin: borrowing SecretBytes, of token: Token) {
    let entry = Entry(pin.copy())
    entries.withLock { $0[token.serial + token.label] = entry }
  }

  func remove(_ token: Token) { entries.withLock { $0[token.serial + token.label] = nil } }
}
