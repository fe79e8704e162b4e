/// The rules that every provider enforces, with the errors that it gives.
extension KeyVersion {
  /// - Throws: ``KMSError/Code/keyPurposeForbids``, ``KMSError/Code/keyStateForbids``.
  public func check(purpose wanted: KeyPurpose, allowing: (KeyState) -> Bool, operation: String) throws {
    try check(purposes: [wanted], allowing: allowing, operation: operation)
  }

  /// - Parameters:
  ///   - purposes: any of them will do; one at least.
  ///   - allowing: whether a state allows the operation.
  ///   - operation: what is asked for, for the error.
  /// - Throws: ``KMSError/Code/keyPurposeForbids``, ``KMSError/Code/keyStateForbids``.
  public func check(purposes: [KeyPurpose], allowing: (KeyState) -> Bool, operation: String) throws {
    guard purposes.contains(purpose) else {
      let wanted = purposes.first?.rawValue ?? operation
      throw KMSError(
        .keyPurposeForbids, "key '\(key)' is for \(purpose.rawValue), not for \(wanted)",
        advice: purpose == .recovery
          ? "A recovery key only wraps here; what it wrapped is opened with the copy that is kept offline."
          : "Use a key made for \(wanted).",
        provider: provider, key: "\(key) \(id)", operation: operation)
    }
    guard allowing(state) else {
      throw KMSError(
        .keyStateForbids, "key version \(id) is \(state.rawValue)",
        advice: state == .suspended
          ? "Activate it first, if that is meant." : "New data takes the key's current version.",
        provider: provider, key: "\(key) \(id)", operation: operation)
    }
  }

  /// - Throws: ``KMSError/Code/illegalStateTransition`` when the table does not list the step.
  public func check(transitionTo next: KeyState) throws {
    guard !state.mayBecome(next) else { return }
    let allowed = state.successors.map(\.rawValue).joined(separator: ", ")
    throw KMSError(
      .illegalStateTransition, "a version that is \(state.rawValue) cannot become \(next.rawValue)",
      advice: allowed.isEmpty ? "Its state is final." : "It can become: \(allowed).", provider: provider,
      key: "\(key) \(id)", operation: "set-state")
  }
}

/// What every provider of AES Key Wrap and direct encryption checks of its input, before any call.
package enum InputRules {
  /// - Throws: ``KMSError/Code/keyPurposeForbids`` for a recovery key: nobody would have a copy of it.
  package static func checkCreation(_ request: NewKeyVersion) throws {
    guard request.purpose != .recovery else {
      throw KMSError(
        .keyPurposeForbids, "a recovery key is not made in a provider: its copy could not be kept offline",
        advice: "Run 'strongroom recovery create \(request.key)'.", key: request.key.description)
    }
  }

  /// - Throws: ``KMSError/Code/invalidInput`` unless a key has 32 bytes.
  package static func checkKey(count: Int) throws {
    guard count == 32 else {
      throw KMSError(.invalidInput, "a key has 32 bytes, this one \(count)", advice: "Give 32 bytes.")
    }
  }

  /// - Throws: ``KMSError/Code/invalidInput`` unless it has 32 bytes that are not all zero. Says nothing else of them.
  package static func checkKEK(_ material: borrowing SecretBytes) throws {
    guard material.count == 32 else {
      throw KMSError(
        .invalidInput, "a KEK has 32 bytes, this one \(material.count)", advice: "Give an AES-256 key, 32 bytes.")
    }
    let isZero = material.equals(SecretBytes(copying: [UInt8](repeating: 0, count: 32).span))
    guard !isZero else {
      throw KMSError(.invalidInput, "the KEK is all zeros", advice: "Something went wrong where it was made or copied.")
    }
  }

  /// - Throws: ``KMSError/Code/notSupported``, ``KMSError/Code/doesNotOpen`` unless it is AES Key Wrap of 32 bytes.
  package static func checkKeyWrap(_ wrapped: WrappedKey) throws {
    guard wrapped.algorithm == .a256KW else {
      throw KMSError(
        .notSupported, "a key wrapped by \(wrapped.algorithm) cannot be opened here",
        advice: "Configure the provider that wrapped it.")
    }
    // Also because SoftHSM pads other lengths in silence.
    guard wrapped.bytes.count == 40 else {
      throw KMSError(
        .doesNotOpen, "a wrapped key has 40 bytes, this one \(wrapped.bytes.count)", advice: "Take a good copy.")
    }
  }

  /// - Throws: ``KMSError/Code/limitExceeded``, ``KMSError/Code/invalidInput``.
  package static func checkDirectEncryption(count: Int, aad: [UInt8]) throws {
    guard count <= directEncryptionLimit else {
      throw KMSError(
        .limitExceeded, "direct encryption takes \(directEncryptionLimit) bytes at most, this has \(count)",
        advice: "Use an envelope.")
    }
    try checkAdditionalData(aad)
  }

  /// For AES-GCM: SoftHSM 2.6.1 crashes without.
  ///
  /// - Throws: ``KMSError/Code/invalidInput``.
  package static func checkAdditionalData(_ aad: [UInt8]) throws {
    guard !aad.isEmpty else {
      throw KMSError(.invalidInput, "the additional data is empty", advice: "Give the message's Enc_structure.")
    }
  }
}
