internal import CP11Kit
package import KMSCore

/// What a Cryptoki function returned.
package struct ReturnValue: Sendable, Hashable, CustomStringConvertible {
  package let rawValue: UInt
  package init(_ rawValue: UInt) { self.rawValue = rawValue }

  package var description: String {
    let hex = "0x" + String(rawValue, radix: 16)
    return Self.names[rawValue].map { "\($0) (\(hex))" } ?? "CKR \(hex)"
  }

  package static let deviceError = ReturnValue(CKR_DEVICE_ERROR)
  package static let objectHandleInvalid = ReturnValue(CKR_OBJECT_HANDLE_INVALID)

  /// The session is gone, or its login, or its slot has another number now: others may do.
  package var losesSession: Bool {
    [CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED, CKR_USER_NOT_LOGGED_IN, CKR_SLOT_ID_INVALID].contains(rawValue)
  }

  /// The token is gone, or unsure.
  package var losesToken: Bool { Self.losingToken.contains(rawValue) }

  /// Do not use the session again.
  package var endsSession: Bool { losesSession || losesToken }

  /// The handle no longer names the object that it did.
  package var meansStaleHandle: Bool {
    [
      CKR_OBJECT_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID, CKR_WRAPPING_KEY_HANDLE_INVALID,
      CKR_UNWRAPPING_KEY_HANDLE_INVALID,
    ].contains(rawValue)
  }

  /// The key's flags on the token do not allow this use: another process may have changed its state.
  package var meansForbidden: Bool {
    rawValue == CKR_KEY_FUNCTION_NOT_PERMITTED || rawValue == CKR_KEY_TYPE_INCONSISTENT
  }

  /// SoftHSM's answer, among others, when another process destroys the key during the call.
  package var meansAnything: Bool { rawValue == CKR_GENERAL_ERROR }

  /// From C_UnwrapKey or C_Decrypt: the input is not right. GENERAL_ERROR is SoftHSM's word for it, ARGUMENTS_BAD NSS's
  /// for a number that is larger than the RSA modulus.
  var meansBadCiphertext: Bool {
    [
      CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_WRAPPED_KEY_INVALID, CKR_WRAPPED_KEY_LEN_RANGE,
      CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_DATA_INVALID, CKR_ARGUMENTS_BAD,
    ].contains(rawValue)
  }

  /// From C_CreateObject with a key's value.
  var meansNoImports: Bool {
    [
      CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCOMPLETE,
      CKR_TEMPLATE_INCONSISTENT, CKR_FUNCTION_NOT_SUPPORTED, CKR_FUNCTION_REJECTED, CKR_FUNCTION_FAILED,
      CKR_ACTION_PROHIBITED,
    ].contains(rawValue)
  }

  /// The token does not take the template: another may do.
  package var meansBadTemplate: Bool {
    [
      CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCOMPLETE,
      CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_SENSITIVE, CKR_ARGUMENTS_BAD,
    ].contains(rawValue)
  }

  /// The token has no such mechanism or function.
  package var meansCannot: Bool { rawValue == CKR_MECHANISM_INVALID || rawValue == CKR_FUNCTION_NOT_SUPPORTED }

  /// There is no room just now.
  package var lacksRoom: Bool { rawValue == CKR_DEVICE_MEMORY || rawValue == CKR_HOST_MEMORY }

  /// The login is lost, or one use of a key wants one of its own.
  package var wantsLogin: Bool { rawValue == CKR_USER_NOT_LOGGED_IN }

  /// The PIN was tried, and refused. Where none is set yet, it may become the right one.
  package var refusesPIN: Bool {
    [CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE, CKR_PIN_LOCKED, CKR_PIN_EXPIRED].contains(rawValue)
  }

  private static let losingToken: Set<UInt> = [
    CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED, CKR_TOKEN_NOT_PRESENT, CKR_TOKEN_NOT_RECOGNIZED,
    CKR_CRYPTOKI_NOT_INITIALIZED,
  ]
}

/// A Cryptoki call that failed.
package struct CallFailure: Error {
  package let function: String
  package let returned: ReturnValue
  /// As the standard writes it, where the call has one.
  package let mechanism: String?
  /// What is wrong with an answer that Cryptoki itself calls right.
  package var problem: String?

  /// Whether the session is not to be used again. C_UnwrapKey and C_Decrypt say GENERAL_ERROR for bad input.
  var evictsSession: Bool { returned.endsSession || (returned.meansAnything && !opensInput) }

  /// Whether the token itself may be in trouble, or the input is just bad: the canary tells.
  package var isUnclear: Bool { returned.meansAnything && opensInput }

  /// Whether it says what the token cannot do. Anything else may pass, though some say that instead.
  package var isRefusal: Bool {
    returned.meansCannot || returned.meansBadTemplate || returned.meansForbidden
      || [CKR_OK, CKR_MECHANISM_PARAM_INVALID, CKR_KEY_SIZE_RANGE].contains(returned.rawValue)
  }

  private var opensInput: Bool { ["C_UnwrapKey", "C_Decrypt"].contains(function) }

  package init(function: String, returned: ReturnValue, mechanism: String? = nil, problem: String? = nil) {
    self.function = function
    self.returned = returned
    self.mechanism = mechanism
    self.problem = problem
  }

  /// The token's answer is not what it should be.
  package init(_ function: String, problem: String) {
    self.init(function: function, returned: ReturnValue(CKR_OK), problem: problem)
  }

  static let importing = "C_CreateObject (of a key from outside)"

  /// The same for a caller, with what to do.
  package var error: KMSError {
    let (code, message, advice): (KMSError.Code, String, String) =
      switch returned.rawValue {
      case _ where problem != nil:
        (.tokenNotTrustworthy, problem ?? "", "Run 'strongroom doctor --module' on this token, and ask its vendor.")
      case CKR_USER_NOT_LOGGED_IN where !["C_Login", "C_OpenSession", Session.lookingForLogin].contains(function):
        (
          .notSupported, "the token wants a login for this one use of the key (CKA_ALWAYS_AUTHENTICATE)",
          "Make the key without CKA_ALWAYS_AUTHENTICATE: the suite cannot ask for a PIN at each use."
        )
      case CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE:
        (.accessDenied, "the token's PIN is wrong", "Correct the PIN's source; a wrong one is not tried twice.")
      case CKR_PIN_LOCKED:
        (.pinLocked, "the token's PIN is locked", "Its security officer must unlock it.")
      case CKR_PIN_EXPIRED: (.accessDenied, "the token's PIN has expired", "Set a new one with the vendor's tool.")
      case CKR_USER_PIN_NOT_INITIALIZED:
        (.accessDenied, "the token has no user PIN yet", "Set one with the vendor's tool.")
      case CKR_SESSION_COUNT:
        (.providerUnavailable, "the token gives no more sessions", "Lower max-sessions, or end other programs.")
      case CKR_TOKEN_NOT_PRESENT, CKR_TOKEN_NOT_RECOGNIZED, CKR_DEVICE_REMOVED:
        (.providerUnavailable, "the token is not there", "Plug it in, or check the HSM's connection.")
      case CKR_DEVICE_MEMORY, CKR_HOST_MEMORY:
        (.providerUnavailable, "the token has no room left", "Destroy what is not needed, or end other programs.")
      case CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_TYPE_INCONSISTENT:
        (.keyStateForbids, "the token does not allow this use of the key", "'strongroom key list' shows its state.")
      case CKR_TOKEN_WRITE_PROTECTED, CKR_SESSION_READ_ONLY:
        (.accessDenied, "the token is write-protected", "Use a token that takes new keys.")
      case _ where function == Self.importing:
        (
          .notSupported, "the token takes no key from outside",
          "Make one in it with 'strongroom key create', or import into another provider."
        )
      case CKR_FUNCTION_NOT_SUPPORTED, CKR_MECHANISM_INVALID:
        (.notSupported, "the token cannot do this", "'strongroom doctor' shows what it can do.")
      case _ where opensInput && returned.meansBadCiphertext:
        (
          .doesNotOpen, "the token does not open it: it was made under another key, or changed",
          "Give the same context as for encryption, or take a good copy."
        )
      case _ where function == "C_DigestKey" && !returned.endsSession:
        (.notSupported, "the token does not digest keys", "The suite then unwraps and wraps instead.")
      case _ where returned.endsSession:
        (.providerUnavailable, "the token lost the session", "Check the HSM's connection, then try again.")
      default:
        (
          .providerFailed, "the token refused a call",
          "See the token's own log; docs/troubleshooting.md explains codes."
        )
      }
    return KMSError(
      code, message, advice: advice, cause: "\(function)\(mechanism.map { " with \($0)" } ?? ""): \(returned)")
  }
}

/// Every Cryptoki call goes through here.
func check(_ returned: UInt, _ function: String, _ mechanism: String? = nil) throws(CallFailure) {
  guard returned == CKR_OK else {
    throw CallFailure(function: function, returned: ReturnValue(returned), mechanism: mechanism)
  }
}
