internal import CGFShare
package import KMSCore

/// One of the shares of a secret (Shamir, over GF(2^8), as libgfshare and Debian's `gfsplit` make them).
package final class Share: Sendable {  // a class only because its bytes are never copied
  /// Where the polynomial was taken: 1 to 255. Not secret.
  package let number: UInt8
  /// As long as the secret.
  package let bytes: SecretBytes

  package init(number: UInt8, bytes: consuming SecretBytes) {
    self.number = number
    self.bytes = bytes
  }
}

/// Splits a secret so that any `threshold` of its shares give it back, and fewer tell nothing.
package enum SecretSharing {
  // libgfshare's generator is a global; set once, before its first use.
  private static let prepared: Void = strongroom_gfshare_prepare()

  /// - Parameters:
  ///   - shares: how many are made, 255 at most. They are numbered from 1.
  ///   - threshold: how many give the secret back, 2 at least.
  /// - Throws: ``KMSError/Code/invalidInput``.
  package static func split(_ secret: borrowing SecretBytes, shares: Int, threshold: Int) throws -> [Share] {
    try check(shares: shares, threshold: threshold)
    _ = prepared
    let size = secret.count
    var numbers = (1...UInt8(shares)).map { $0 }
    let context = unsafe gfshare_ctx_init_enc(  // copies the numbers
      &numbers, UInt32(shares), UInt8(threshold), UInt32(size))
    guard let context = unsafe context, size > 0 else { throw outOfMemory() }  // only compared
    defer { unsafe gfshare_ctx_free(context) }  // overwrites its memory first
    secret.withBytes { bytes in
      // Read for the call only, although its parameter is not const.
      unsafe bytes.withUnsafeBufferPointer {  // for the call
        unsafe gfshare_ctx_enc_setsecret(context, UnsafeMutablePointer(mutating: $0.baseAddress))  // copied
      }
    }
    return numbers.indices.map { i in
      Share(
        number: numbers[i],
        bytes: SecretBytes(capacity: size) { output in
          unsafe output.withUnsafeMutableBufferPointer { buffer, count in  // libgfshare writes `size` bytes
            unsafe gfshare_ctx_enc_getshare(context, UInt8(i), buffer.baseAddress)  // writes `size` bytes
            count = size
          }
        })
    }
  }

  /// What the shares give. With too few, or one of another secret, that is something else: nothing in a share tells.
  ///
  /// - Throws: ``KMSError/Code/invalidInput`` when one is there twice, or their lengths differ.
  package static func combine(_ shares: [Share]) throws -> SecretBytes {
    _ = prepared
    var numbers = shares.map(\.number)
    let size = shares.first?.bytes.count ?? 0
    guard shares.count >= 2, size > 0, shares.allSatisfy({ $0.bytes.count == size }) else {
      throw KMSError(
        .invalidInput, shares.count < 2 ? "there are too few shares" : "the shares' lengths differ",
        advice: "Give as many shares of one key as were said when they were made.")
    }
    guard Set(numbers).count == numbers.count, !numbers.contains(0) else {
      throw KMSError(.invalidInput, "two shares have one number", advice: "Give each share once.")
    }
    guard
      let context = unsafe gfshare_ctx_init_dec(&numbers, UInt32(numbers.count), UInt32(size))  // copies the numbers
    else {
      throw outOfMemory()
    }
    defer { unsafe gfshare_ctx_free(context) }  // overwrites its memory first
    for (i, share) in shares.enumerated() {
      share.bytes.withBytes { bytes in
        unsafe bytes.withUnsafeBufferPointer {  // as in `split`
          unsafe gfshare_ctx_dec_giveshare(  // copied within the call
            context, UInt8(i), UnsafeMutablePointer(mutating: $0.baseAddress))
        }
      }
    }
    return SecretBytes(capacity: size) { output in
      unsafe output.withUnsafeMutableBufferPointer { buffer, count in  // libgfshare writes `size` bytes
        unsafe gfshare_ctx_dec_extract(context, buffer.baseAddress)  // writes `size` bytes
        count = size
      }
    }
  }

  package static func check(shares: Int, threshold: Int) throws {
    guard (2...255).contains(shares), (2...shares).contains(threshold) else {
      throw KMSError(
        .invalidInput, "\(threshold) of \(shares) shares cannot be made",
        advice: "Make 2 to 255 shares, of which 2 or more give the key back, and no more than there are.")
    }
  }

  private static func outOfMemory() -> KMSError {
    KMSError(.providerFailed, "libgfshare refused a call", advice: "Is there memory left?")
  }
}
