internal import COpenSSL
internal import KMSCore

/// A digest of 32 bytes, by value.
package struct TreeHash: Sendable, Hashable {
  fileprivate var words: SIMD4<UInt64>

  /// Nil unless there are 32.
  package init?(_ bytes: some Collection<UInt8>) {
    guard bytes.count == 32 else { return nil }
    words = SIMD4()
    let bytes = Array(bytes)
    unsafe withUnsafeMutableBytes(of: &words) { unsafe $0.copyBytes(from: bytes) }  // 32 of 32
  }

  fileprivate init() { words = SIMD4() }

  fileprivate mutating func finish(_ context: OpaquePointer) {
    let done = unsafe withUnsafeMutableBytes(of: &words) {  // 32 bytes, for the call only
      unsafe EVP_DigestFinal_ex(context, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), nil)  // bytes are bytes
    }
    precondition(done == 1)
  }

  package var bytes: [UInt8] { unsafe withUnsafeBytes(of: words) { unsafe Array($0) } }  // copied at once
}

/// Hashes leaves and nodes of a Merkle tree (RFC 6962, 2.1). One context for all of them: making one costs as much
/// as a hash.
@safe
package struct TreeHasher: ~Copyable, @unchecked Sendable {  // it alone has its context
  private let context: OpaquePointer

  package init() {
    guard let context = unsafe EVP_MD_CTX_new(),  // ours from here on
      unsafe EVP_DigestInit_ex2(context, Ciphers.sha256, nil) == 1  // a constant of the library
    else {
      fatalError("out of memory")
    }
    unsafe self.context = context  // made for this alone
  }

  deinit { unsafe EVP_MD_CTX_free(context) }  // ours, freed once

  /// SHA-256 of 0x00 and the record.
  package mutating func leaf(_ record: Span<UInt8>) -> TreeHash {
    start()
    var prefix: UInt8 = 0
    unsafe _ = EVP_DigestUpdate(context, &prefix, 1)  // one byte, for the call only
    return finish(with: record)
  }

  /// SHA-256 of 0x01 and both.
  package mutating func node(_ left: TreeHash, _ right: TreeHash) -> TreeHash {
    var bytes = InlineArray<65, UInt8>(repeating: 1)
    unsafe withUnsafeMutableBytes(of: &bytes) { bytes in  // 1 + 32 + 32 of 65
      unsafe withUnsafeBytes(of: left.words) { unsafe bytes[1..<33].copyBytes(from: $0) }  // as above
      unsafe withUnsafeBytes(of: right.words) { unsafe bytes[33...].copyBytes(from: $0) }  // as above
    }
    start()
    return finish(with: bytes.span)
  }

  /// Of the tree without leaves.
  package static let empty = TreeHash(SHA256.digest([UInt8]().span))!  // a digest has 32 bytes

  private mutating func start() {
    unsafe _ = EVP_DigestInit_ex2(context, nil, nil)  // the same again
  }

  private mutating func finish(with bytes: Span<UInt8>) -> TreeHash {
    unsafe bytes.withUnsafeBufferPointer { unsafe _ = EVP_DigestUpdate(context, $0.baseAddress, $0.count) }  // its own
    var hash = TreeHash()
    unsafe hash.finish(context)  // our context
    return hash
  }
}
