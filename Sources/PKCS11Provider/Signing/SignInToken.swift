internal import CryptoPrimitives
public import KMSCore
internal import PKCS11

/// Signing keys: pairs on P-256, made in the token, whose private half signs and does nothing else.
extension PKCS11Provider: Signing {
  public func signingKey(named name: KeyName) async throws -> SigningKey? {
    try await retrying("find-signing-key") { connection in
      try await connection.pool.withSession { session throws(CallFailure) in
        var newest: SigningKey?
        for key in try session.find(SigningTemplates.privateKeys(named: name)) {
          guard let value = try session.attributesIfThere(of: key, [.id])?[0], let id = try? KeyVersionID(value),
            newest.map({ $0.id < id }) ?? true, let found = try session.publicHalf(of: id, named: name)
          else { continue }
          newest = found
        }
        return newest
      }
    }
  }

  public func createSigningKey(named name: KeyName) async throws -> SigningKey {
    let id = KeyVersionID.make()
    let outcome = try await calling("create-signing-key") { connection in
      try await connection.pool.alone { session throws(CallFailure) -> Result<SigningKey, KMSError> in
        let pair = try session.generateECPair(
          publicKey: SigningTemplates.publicKey(id, name), privateKey: SigningTemplates.privateKey(id, name))
        func destroy() {
          try? session.destroy(pair.privateKey)
          try? session.destroy(pair.publicKey)
        }
        let values: [[UInt8]?]
        let made: SigningKey?
        do throws(CallFailure) {
          values = try session.attributes(of: pair.privateKey, SigningTemplates.readBack)
          made = try session.publicHalf(of: id, named: name)
        } catch {
          destroy()
          throw error
        }
        do throws(KMSError) {
          try SigningTemplates.check(values, name)
          guard let made else { throw SigningTemplates.noPoint(name) }
          return .success(made)
        } catch {
          destroy()
          return .failure(error)
        }
      }
    }
    return try outcome.get()
  }

  public func sign(_ message: [UInt8], with id: KeyVersionID) async throws -> [UInt8] {
    let digest = SHA256.digest(message.span)
    let rs = try await retrying("sign") { connection in
      try await connection.pool.withSession { session throws(CallFailure) -> [UInt8]? in
        guard let key = try session.find(SigningTemplates.privateKey(withID: id)).first else { return nil }
        return try session.sign(digest: digest, with: key)
      }
    }
    guard let rs else {
      throw KMSError(
        .keyNotFound, "there is no signing key \(id) in the token",
        advice: "Make one with: strongroom log key --create", provider: identity.name, operation: "sign")
    }
    guard let signature = ECDSA.signature(rs: rs) else {
      throw KMSError(
        .tokenNotTrustworthy, "the token gave a signature of \(rs.count) bytes where one on P-256 has 64",
        advice: "Sign the access log with another provider.", provider: identity.name, operation: "sign")
    }
    return signature
  }
}

extension Session {
  /// The public key as SubjectPublicKeyInfo; nil when there is none, or it is not on P-256.
  fileprivate func publicHalf(of id: KeyVersionID, named name: KeyName) throws(CallFailure) -> SigningKey? {
    guard let key = try find(SigningTemplates.publicKey(withID: id)).first,
      let point = try attributesIfThere(of: key, [.ecPoint])?[0]
    else { return nil }
    // An OCTET STRING in DER, says the standard; the bare point, say some tokens.
    let bare = point.starts(with: [0x04, 0x41]) && point.count == 67 ? Array(point.dropFirst(2)) : point
    return ECDSA.publicKey(point: bare).map { SigningKey(id: id, name: name, publicKey: $0) }
  }
}

/// What a signing key in the token must look like.
private enum SigningTemplates {
  private static let publicClass = UInt(2)  // CKO_PUBLIC_KEY
  private static let privateClass = UInt(3)  // CKO_PRIVATE_KEY
  private static let ec = UInt(3)  // CKK_EC
  private static let p256: [UInt8] = [0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07]  // prime256v1

  private static func key(_ kind: UInt, _ more: [(AttributeType, Template.Value)]) -> Template {
    Template([(.objectClass, .number(kind)), (.keyType, .number(ec)), (.token, .flag(true))] + more)
  }

  static func privateKeys(named name: KeyName) -> Template {
    key(privateClass, [(.label, .bytes(Array(name.description.utf8)))])
  }
  static func privateKey(withID id: KeyVersionID) -> Template { key(privateClass, [(.id, .bytes(id.bytes))]) }
  static func publicKey(withID id: KeyVersionID) -> Template { key(publicClass, [(.id, .bytes(id.bytes))]) }

  static func privateKey(_ id: KeyVersionID, _ name: KeyName) -> Template {
    key(
      privateClass,
      [
        (.isPrivate, .flag(true)), (.sensitive, .flag(true)), (.extractable, .flag(false)), (.sign, .flag(true)),
        (.decrypt, .flag(false)), (.unwrap, .flag(false)), (.derive, .flag(false)), (.id, .bytes(id.bytes)),
        (.label, .bytes(Array(name.description.utf8))),
      ])
  }

  static func publicKey(_ id: KeyVersionID, _ name: KeyName) -> Template {
    key(
      publicClass,
      [
        (.isPrivate, .flag(false)), (.verify, .flag(true)), (.encrypt, .flag(false)), (.wrap, .flag(false)),
        (.ecParameters, .bytes(p256)), (.id, .bytes(id.bytes)), (.label, .bytes(Array(name.description.utf8))),
      ])
  }

  static let readBack: [AttributeType] = [
    .sensitive, .extractable, .isPrivate, .alwaysSensitive, .neverExtractable, .local, .sign, .decrypt, .unwrap,
    .derive,
  ]

  static func check(_ values: [[UInt8]?], _ name: KeyName) throws(KMSError) {
    let expected = [true, false, true, true, true, true, true, false, false, false]
    guard zip(expected, values).allSatisfy({ $1 == [$0 ? 1 : 0] || ($1 == nil && !$0) }) else {
      throw KMSError(
        .tokenNotTrustworthy,
        "the token made a signing key with other attributes than it was asked for; it was destroyed",
        advice: "Sign the access log with another provider.", key: name.description, operation: "create-signing-key")
    }
  }

  static func noPoint(_ name: KeyName) -> KMSError {
    KMSError(
      .tokenNotTrustworthy, "the token made a signing key and gives no public key on P-256 for it; it was destroyed",
      advice: "Sign the access log with another provider.", key: name.description, operation: "create-signing-key")
  }
}
