internal import KMSCore
internal import PKCS11

/// Making keys with the first template that the token takes.
extension Session {
  /// - Parameter isWhole: others see the key with its value or not at all: SoftHSM writes the object first and the
  ///   value after, so it is made for the session and copied whole.
  func generateKEK(
    _ request: NewKeyVersion, _ algorithm: WrapAlgorithm, isWhole: Bool
  ) throws(CallFailure) -> UInt {
    let attributes = KeyTemplates.newKey(request, algorithm, isImport: false)
    return try withProfiles(attributes, makeDraft: generateAES) { without throws(CallFailure) in
      guard isWhole else { return try generateAES(KeyTemplates.template(attributes, without: without)) }
      let draft = try generateAES(KeyTemplates.template(attributes, without: without, isOnToken: false))
      let key: UInt
      do throws(CallFailure) { key = try copy(draft, KeyTemplates.onToken) } catch {
        try? destroy(draft)
        guard !error.returned.endsSession else { throw error }
        // It copies no keys.
        return try generateAES(KeyTemplates.template(attributes, without: without))
      }
      try destroy(draft)
      return key
    }
  }

  /// A session key like a KEK, to try wrapping with.
  func generateProbe(encrypts: Bool) throws(CallFailure) -> UInt {
    let attributes = KeyTemplates.probe(encrypts: encrypts)
    return try withProfiles(attributes, makeDraft: nil) { without throws(CallFailure) in
      try generateAES(KeyTemplates.template(attributes, without: without, isOnToken: false))
    }
  }

  func importKEK(
    _ request: NewKeyVersion, _ algorithm: WrapAlgorithm, _ material: SharedSecret
  ) throws(CallFailure) -> UInt {
    let attributes = KeyTemplates.newKey(request, algorithm, isImport: true)
    return try withProfiles(attributes, makeDraft: nil) { without throws(CallFailure) in
      try importKey(KeyTemplates.template(attributes, without: without), value: material.bytes)
    }
  }

  /// - Returns: the private key, and the public one.
  func generatePair(_ request: NewKeyVersion) throws(CallFailure) -> [UInt] {
    let templates = KeyTemplates.newPair(request)
    let pair = try generateRSA(publicKey: templates.publicKey, privateKey: templates.privateKey)
    return [pair.privateKey, pair.publicKey]
  }

  /// - Parameter makeDraft: makes a session key from a template, to find the attribute that is refused.
  private func withProfiles(
    _ attributes: KeyTemplates.Attributes, makeDraft: ((Template) throws(CallFailure) -> UInt)?,
    _ make: (Set<AttributeType>) throws(CallFailure) -> UInt
  ) throws(CallFailure) -> UInt {
    var first: CallFailure?
    for profile in KeyTemplates.profiles {
      do throws(CallFailure) { return try make(profile.without) } catch {
        guard error.refusesTemplate else { throw error }
        first = first ?? error
      }
    }
    let failure = first ?? CallFailure("C_GenerateKey", problem: "no template")
    guard let makeDraft, let refused = refused(of: attributes, makeDraft) else { throw failure }
    throw CallFailure(
      function: "\(failure.function) (\(refused.name) is refused)", returned: failure.returned,
      mechanism: failure.mechanism)
  }

  /// Without which one the template is taken.
  private func refused(
    of attributes: KeyTemplates.Attributes, _ make: (Template) throws(CallFailure) -> UInt
  ) -> AttributeType? {
    for (type, _) in attributes where type != .token {
      let rest = attributes.filter { $0.0 != type }
      guard let key = try? make(KeyTemplates.template(rest, isOnToken: false)) else { continue }
      destroyQuietly(key)
      return type
    }
    return nil
  }
}

extension CallFailure {
  /// Whether another template may do.
  fileprivate var refusesTemplate: Bool { returned.meansBadTemplate }
}

extension WrapAbilities {
  /// What a new key is made for. An imported one is AES; keys for direct encryption and recovery keys have no choice.
  func algorithm(of purpose: KeyPurpose, isImport: Bool) throws(KMSError) -> WrapAlgorithm {
    guard purpose == .wrap else { return .a256KW }
    let chosen = try chosenAlgorithm()
    return isImport && chosen != .a256GCM ? .a256KW : chosen
  }
}
