/// What went wrong, where, and what to do next. Two errors are equal when their codes are.
///
/// It never holds a PIN, passphrase, key or plaintext.
public struct KMSError: Error, Sendable, CustomStringConvertible {
  /// Kind of the error.
  public let code: Code
  /// What happened, in one sentence without a full stop.
  public let message: String
  /// What to do next, in one sentence. Empty where there is nothing to say.
  public let advice: String
  /// Configured name of the provider.
  public var provider: String?
  /// Name of the key, id of the version, or both.
  public var key: String?
  /// Operation that was asked for: `wrap`, `create`, ….
  public var operation: String?
  /// C function, mechanism and what came of it: `C_WrapKey with CKM_AES_KEY_WRAP: CKR_DEVICE_ERROR (0x30)`, or OpenSSL's
  /// error queue.
  public var cause: String?
  /// Where in the source it was made, `File.swift:12`.
  public let location: String

  /// Messages and advice hold no secret.
  public init(
    _ code: Code, _ message: String, advice: String = "", provider: String? = nil, key: String? = nil,
    operation: String? = nil, cause: String? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    self.code = code
    self.message = message
    self.advice = advice
    self.provider = provider
    self.key = key
    self.operation = operation
    self.cause = cause
    location = "\(file):\(line)"
  }

  /// One line: message, details in brackets, advice.
  public var description: String {
    var details: [String] = []
    if let provider { details.append("provider \(provider)") }
    if let key { details.append("key \(key)") }
    if let operation { details.append(operation) }
    if let cause { details.append(cause) }
    var text = message
    if !details.isEmpty { text += " (" + details.joined(separator: ", ") + ")" }
    return advice.isEmpty ? text + "." : text + ". " + advice
  }

  /// The same error with what a caller further up knows; what is known already stays.
  public func adding(provider: String? = nil, key: String? = nil, operation: String? = nil) -> KMSError {
    var error = self
    error.provider = error.provider ?? provider
    error.key = error.key ?? key
    error.operation = error.operation ?? operation
    return error
  }
}

extension KMSError: Equatable {
  public static func == (a: KMSError, b: KMSError) -> Bool { a.code == b.code }
}
