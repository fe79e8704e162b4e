internal import COpenSSL
package import KMSCore

/// Turns libcrypto's error queue into a ``KMSError`` and leaves it empty.
package enum OpenSSLFailure {
  package static func error(
    _ call: String, code: KMSError.Code = .providerFailed, message: String = "libcrypto refused a call",
    advice: String = "Check that OpenSSL is installed whole and not limited by its configuration."
  ) -> KMSError {
    var reasons: [String] = []
    while case let number = ERR_get_error(), number != 0 {
      guard let text = unsafe ERR_reason_error_string(number) else { continue }  // a constant string
      unsafe reasons.append(String(cString: text))  // libcrypto's own constant
    }
    return KMSError(
      code, message, advice: advice, cause: ([call] + reasons.prefix(3)).joined(separator: ": "))
  }

  package static func clear() { ERR_clear_error() }
}
