public import KMSCore
internal import SystemPackage

/// How a key is written down.
public enum KeyEncoding: String, Sendable, CaseIterable {
  /// The bytes themselves, all of a file.
  case raw
  /// Two digits a byte, upper or lower case, one line.
  case hex
  /// RFC 4648, section 4, with padding, one line.
  case base64
}

extension SecretBytes {
  /// Reads a key's bytes from a source as the configuration names them (`file:PATH`, `env:VARIABLE`,
  /// `credential:NAME`, `prompt:`); relative paths begin at the working folder. They stay in memory that is wiped.
  ///
  /// - Throws: ``KMSError/Code/secretUnavailable``, ``KMSError/Code/invalidInput``; neither tells what was read.
  public static func key(
    from source: String, encoding: KeyEncoding, environment: [String: String] = ProcessEnvironment.all
  ) throws -> SecretBytes {
    guard encoding != .raw || source.hasPrefix("file:") || source.hasPrefix("credential:") else {
      throw KMSError(
        .invalidInput, "raw bytes are read from a file or a credential only", advice: "Give the key as hex or base64.")
    }
    let text = try SecretSource(
      parsing: source, folder: "", environment: environment, what: "key", isWhole: encoding == .raw
    ).read()
    switch encoding {
    case .raw: return text
    case .hex: return try decode(text, bits: 4, digits: [("0", "9", 0), ("a", "f", 10), ("A", "F", 10)], "hex")
    case .base64:
      return try decode(
        text, bits: 6, digits: [("A", "Z", 0), ("a", "z", 26), ("0", "9", 52), ("+", "+", 62), ("/", "/", 63)],
        "base64")
    }
  }

  /// Neither branches on the digits nor looks them up in a table: both can be seen from outside.
  private static func decode(
    _ text: borrowing SecretBytes, bits: Int, digits: [(Unicode.Scalar, Unicode.Scalar, Int)], _ name: String
  ) throws -> SecretBytes {
    var problem = 0
    let bytes = text.withBytes { text in
      var end = text.count
      if bits == 6 {
        while end > 0, text.count - end < 2, text[end - 1] == 0x3D { end -= 1 }  // =
        problem |= text.count % 4
      }
      return SecretBytes(capacity: text.count) { output in
        var (held, count) = (0, 0)
        for i in 0..<end {
          let character = Int(text[i])
          var digit = -1
          for (first, last, value) in digits {
            let (first, last) = (Int(first.value), Int(last.value))
            // All ones where it is in the range, else zero.
            let isInside = ((first - 1 - character) & (character - last - 1)) >> 8
            digit += isInside & (character - first + value + 1)
          }
          problem |= digit >> 8
          held = held << bits | (digit & 0x3F)
          count += bits
          if count >= 8 {
            count -= 8
            output.append(UInt8(truncatingIfNeeded: held >> count))
            held &= 1 << count - 1
          }
        }
        problem |= held | (bits == 4 ? count : 0)  // half a byte is left
      }
    }
    guard problem == 0 else {
      throw KMSError(.invalidInput, "the key is not \(name)", advice: "Say with --encoding how it is written down.")
    }
    return bytes
  }
}
