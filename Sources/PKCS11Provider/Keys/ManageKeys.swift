public import KMSCore
internal import PKCS11

/// Making keys and moving them between states. Writes to the token run alone.
extension PKCS11Provider: KeyImporting {
  public func createKeyVersion(_ request: NewKeyVersion) async throws -> KeyVersion {
    try InputRules.checkCreation(request)
    return try await make(request, "create-version") { session, token, algorithm throws(CallFailure) in
      guard algorithm == .a256KW || algorithm == .a256GCM else { return try session.generatePair(request) }
      return [try session.generateKEK(request, algorithm, isWhole: token.overwritesObjects)]
    }
  }

  public func importKeyVersion(_ request: NewKeyVersion, material: borrowing SecretBytes) async throws -> KeyVersion {
    try InputRules.checkKEK(material)
    let material = SharedSecret(material.copy())
    return try await make(request, "import-version", isImport: true) { session, _, algorithm throws(CallFailure) in
      [try session.importKEK(request, algorithm, material)]
    }
  }

  /// - Parameter body: makes the key; gives its handle, and that of a public key.
  private func make(
    _ request: NewKeyVersion, _ operation: String, isImport: Bool = false,
    _ body: @escaping @Sendable (Session, Token, WrapAlgorithm) throws(CallFailure) -> [UInt]
  ) async throws -> KeyVersion {
    try await calling(operation) { connection in
      defer { connection.forgetKeys() }
      let token = connection.token
      let abilities = try await connection.abilitiesForNewKeys()
      let algorithm = try abilities.algorithm(of: request.purpose, isImport: isImport)
      let outcome = try await connection.pool.alone { session throws(CallFailure) -> Result<Void, KMSError> in
        // One token silently replaces a key when a second is made with its id.
        guard try session.find(KeyTemplates.withID(request.id)).isEmpty,
          try session.find(KeyTemplates.privateRSA(request.id)).isEmpty
        else {
          return .failure(
            KMSError(
              .duplicateKeyVersion, "the token holds a key with the id \(request.id) already",
              advice: "Ids are never used twice; make a new one.", key: request.key.description))
        }
        // Left behind where a destruction was cut off: they are about another key.
        try session.removeRecords(of: request.id)
        // Before the key: alone, a record says nothing. Without one, a key of another id than the suite's is none of
        // ours, and one with the suite's is for AES Key Wrap.
        if !request.id.isUUIDv7 || algorithm != .a256KW {
          _ = try session.create(AdoptionRecord(request, algorithm).record)
        }
        let keys: [UInt]
        do throws(CallFailure) { keys = try body(session, token, algorithm) } catch {
          try? session.removeRecords(of: request.id)
          throw error
        }
        let values: [[UInt8]?]
        do throws(CallFailure) { values = try session.attributes(of: keys[0], KeyTemplates.readBack) } catch {
          for key in keys { session.destroyQuietly(key) }
          try? session.removeRecords(of: request.id)
          throw error
        }
        do throws(KMSError) {
          try KeyTemplates.check(values, request, algorithm, isImport: isImport, of: token)
          return .success(())
        } catch {
          var isGone = true
          for key in keys where (try? session.destroy(key)) == nil { isGone = false }
          try? session.removeRecords(of: request.id)
          return .failure(isGone ? error : error.remaining(request.id))
        }
      }
      try outcome.get()
      return KeyVersion(
        id: request.id, key: request.key, purpose: request.purpose, state: .active,
        enforcement: algorithm == .a256KW || algorithm == .a256GCM ? .token : .suite, provider: identity.name)
    }
  }

  public func setState(_ state: KeyState, of id: KeyVersionID) async throws -> KeyVersion {
    // What a destruction has begun with.
    var dying: KeyVersion?
    return try await retrying("set-state") { connection in
      connection.forgetKeys()
      defer { connection.forgetKeys() }
      let entry: KeyIndex.Entry
      do { entry = try await connection.entry(id, operation: "set-state") } catch let error as KMSError {
        guard let dying, error.code == .keyNotFound else { throw error }
        // It was cut off after the key was gone.
        try await connection.pool.alone { session throws(CallFailure) in try session.removeRecords(of: id) }
        await Self.copiesEnd()
        return dying.with(state: .destroyed)
      }
      let version = entry.version
      try version.check(transitionTo: state)
      guard state != .destroyed else {
        dying = version
        try await connection.pool.alone { session throws(CallFailure) in try session.destroy(version) }.get()
        await Self.copiesEnd()
        return version.with(state: .destroyed)
      }
      let byCopy = connection.token.overwritesObjects
      // A change that was cut off is seen by its record, and is not complete.
      let isMade = state == version.state && entry.showsItsState
      let enforcement =
        isMade
        ? version.enforcement
        : try await connection.pool.alone { session throws(CallFailure) in
          try session.move(version, to: state, byCopy: byCopy)
        }
      // Also where it was made: perhaps just now, by who did not wait.
      if state.strictness >= version.state.strictness { await Self.copiesEnd() }
      return version.with(state: state, enforcement: enforcement)
    }
  }
}

extension PKCS11Provider {
  /// Waits until no process uses a copy of a KEK that was made before. Nothing cuts it short.
  private static func copiesEnd() async {
    await Task.detached { try? await Task.sleep(for: Session.copyLifetime + .milliseconds(5)) }.value
  }
}

extension KMSError {
  /// The clean-up failed as well.
  fileprivate func remaining(_ id: KeyVersionID) -> KMSError {
    KMSError(
      code, "the token made a key that is not as it was asked for, and does not destroy it",
      advice: "Destroy the key with CKA_ID \(id) with the vendor's tool, and keep no keys in this token.", key: key,
      operation: operation, cause: cause)
  }
}
