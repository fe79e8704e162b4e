import Envelope
import KMSCore
import Testing

@testable import DataAtRest

/// What a processor counts in advance is neither lost nor used twice.
struct SealingKeyTests {
  @Test(arguments: [
    (messages: 10_000, bytes: 1 << 30), (messages: 1 << 20, bytes: 40_000), (messages: 10, bytes: 1000),
  ])
  func itSealsAsOftenAsItMay(limits: (messages: Int, bytes: Int)) throws {
    let key = try makeKey(CacheLimits(maxMessages: limits.messages, maxBytes: limits.bytes))
    let most = min(limits.messages, limits.bytes / 4)
    var callers = [try key.makeOwn(for: key.share), try key.makeOwn(for: key.share)]
    var (count, spent) = (0, 0)
    while spent < 2 {
      for i in callers.indices {
        // One of them goes now and then, with what it counted in advance.
        if count % 700 == 699 { callers[i] = try key.makeOwn(for: key.share) }
        if callers[i].take(bytes: 4) { count += 1 } else { spent += 1 }
      }
      if spent == 0 { continue }
      // What the others hold is used before the key counts as spent.
      for i in callers.indices { while callers[i].take(bytes: 4) { count += 1 } }
      spent = 2
    }
    #expect(count <= most && count > most - most / 8 - 2, "\(count) of \(most)")
  }

  @Test func whatACallerDidNotUseIsThereForOthers() throws {
    let key = try makeKey(CacheLimits(maxMessages: 10_000, maxBytes: 1 << 30))
    var own = try key.makeOwn(for: key.share)
    for bytes in [0, 4, 0, 1000, 4] { #expect(own.take(bytes: bytes)) }
    own = try key.makeOwn(for: key.share)  // the first one goes
    var left = 0
    while key.take(bytes: 0) { left += 1 }
    #expect(left == 10_000 - 5)
    withExtendedLifetime(own) {}
  }

  private func makeKey(_ limits: CacheLimits) throws -> SealingKey {
    try SealingKey(
      DataKeys.Share(key: KeyName("k")),
      sealer: FieldSealer(dek: ContentKey(key: SecretBytes.random(count: 32), use: .sharedField)),
      version: KeyVersion(
        id: .make(), key: KeyName("k"), purpose: .wrap, state: .active, enforcement: .token, provider: "test"),
      context: nil, limits: limits)
  }
}
