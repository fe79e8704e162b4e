/// A short keyed hash of a context: equal for equal contexts of one process, and of no use to guess values with, as
/// nobody outside has its key.
enum ContextTag {
  // `Hasher` is keyed by the process as well, but an environment variable can take that away.
  private static let keyed = {
    var hasher = Hasher()
    hasher.combine(UInt64.random(in: .min ... .max))
    hasher.combine(UInt64.random(in: .min ... .max))
    return hasher
  }()

  static func of(_ encoded: [UInt8]) -> UInt64 {
    var hasher = keyed
    unsafe encoded.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }  // for the call only
    return UInt64(bitPattern: Int64(hasher.finalize()))
  }
}
