internal import DurableFiles
package import KMSCore
package import SystemPackage

/// A recovery key in a file: 32 bytes as `gfcombine` gives them, or 64 hex digits, with or without spaces.
///
/// - Throws: ``KMSError/Code/invalidInput`` for anything else.
package func readKeyFile(_ path: FilePath) throws -> SecretBytes {
  let content = try readSecretFile(path, limit: 256)
  if content.count == 32 { return content }
  let key = content.withBytes { text in
    SecretBytes(capacity: 33) { output in
      var half: UInt8?
      for i in text.indices {
        guard let value = hexValue(text[i]) else {
          if text[i] <= 0x20 { continue }
          return output.removeAll()
        }
        guard let high = half else {
          half = value
          continue
        }
        half = nil
        if output.freeCapacity > 0 { output.append(high << 4 | value) }
      }
      if half != nil { output.removeAll() }
    }
  }
  guard key.count == 32 else {
    throw KMSError(
      .invalidInput, "\(path) holds neither 32 bytes nor 64 hex digits", advice: "Name the file that gfcombine wrote.")
  }
  return key
}

private func hexValue(_ digit: UInt8) -> UInt8? {
  switch digit {
  case 0x30...0x39: digit - 0x30
  case 0x61...0x66: digit - 0x61 + 10
  case 0x41...0x46: digit - 0x41 + 10
  default: nil
  }
}
