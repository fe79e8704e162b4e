internal import KMSCore
internal import PKCS11
internal import Synchronization

/// Proves that a handle still names the key that it named: after a reset it may name another, and data wrapped under
/// that one would be lost. A fixed key, wrapped when a KEK is first used, must come out as it did.
final class Canaries: Sendable {
  private let known = Mutex<[KeyVersionID: WrappedKey]>([:])
  private let bytes = SharedSecret(SecretBytes(copying: Array("strongroom's canary, no secret..".utf8).span))
  private let aad = Array("strongroom".utf8)

  /// - Returns: whether it was compared. There is nothing to compare when a key is first used, and never one that does
  ///   not wrap any more.
  /// - Throws: with ``CallFailure/problem`` when it is another key.
  func check(
    _ entry: KeyIndex.Entry, on session: Session, _ abilities: WrapAbilities
  ) throws(CallFailure) -> Bool {
    var entry = entry
    // One for direct encryption does what one that wraps by AES-GCM does.
    if entry.version.purpose == .encrypt { entry.algorithm = .a256GCM }
    let (id, state) = (entry.version.id, entry.version.state)
    let before = known.withLock { $0[id] }
    let wraps = entry.version.purpose.seals(in: state)
    if let before, entry.algorithm != .a256KW || !wraps {
      guard entry.version.purpose.opens(in: state) else { return false }
      let back: SecretBytes
      do throws(CallFailure) { back = try session.unwrap(before, under: entry, aad: aad) } catch {
        guard !error.returned.endsSession, !error.returned.meansStaleHandle, !error.returned.meansForbidden else {
          throw error
        }
        throw Self.another(entry)
      }
      let same = back.equals(bytes.bytes)
      guard same else { throw Self.another(entry) }
      return true
    }
    guard wraps else { return false }
    let now = try session.wrap(bytes, under: entry, aad: aad, abilities)
    // AES Key Wrap gives the same each time.
    if let before, before != now { throw Self.another(entry) }
    known.withLock { $0[id] = now }
    return before != nil
  }

  private static func another(_ entry: KeyIndex.Entry) -> CallFailure {
    CallFailure(
      "C_WrapKey", problem: "the token's key \(entry.version.id) is not the one that it was when it was first used")
  }
}

/// How often a key has encrypted by AES-GCM in this process. With random IVs 2^32 times are safe (NIST SP 800-38D, 8.3).
final class GCMUses: Sendable {
  private static let limit = 1 << 32
  private let uses = Mutex<[KeyVersionID: Int]>([:])

  /// - Throws: ``KMSError/Code/limitExceeded``.
  func add(_ id: KeyVersionID) throws {
    let count = uses.withLock { uses in
      uses[id, default: 0] += 1
      return uses[id, default: 0]
    }
    guard count <= Self.limit else {
      throw KMSError(
        .limitExceeded, "key version \(id) was used 2^32 times", advice: "Rotate the key: 'strongroom key rotate'.")
    }
  }
}
