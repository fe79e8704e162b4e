internal import KMSCore
internal import PKCS11

/// What a KEK in the token must look like.
enum KeyTemplates {
  private static let secretKey = UInt(4)  // CKO_SECRET_KEY
  private static let aes = UInt(0x1F)  // CKK_AES

  /// Every AES key on the token.
  static let allKeys = Template([
    (.objectClass, .number(secretKey)), (.keyType, .number(aes)), (.token, .flag(true)),
  ])

  /// Every secret key on the token.
  static let allSecretKeys = Template([(.objectClass, .number(secretKey)), (.token, .flag(true))])

  /// Any secret key with this id, whatever it is.
  static func withID(_ id: KeyVersionID) -> Template {
    Template([(.objectClass, .number(secretKey)), (.token, .flag(true)), (.id, .bytes(id.bytes))])
  }

  static func newKey(_ request: NewKeyVersion, isImport: Bool, isOnToken: Bool = true) -> Template {
    let flags = KeyIndex.Flags(request.purpose, .active)
    let attributes: [(AttributeType, Template.Value)] = [
      (.objectClass, .number(secretKey)), (.keyType, .number(aes)), (.token, .flag(isOnToken)),
      (.isPrivate, .flag(true)),
      (.sensitive, .flag(true)), (.extractable, .flag(false)), (.label, .bytes(Array(request.key.description.utf8))),
      (.id, .bytes(request.id.bytes)), (.wrap, .flag(flags.wrap)), (.unwrap, .flag(flags.unwrap)),
      (.encrypt, .flag(flags.encrypt)), (.decrypt, .flag(flags.decrypt)), (.sign, .flag(false)),
      (.verify, .flag(false)), (.derive, .flag(false)),
    ]
    return Template(isImport ? attributes : attributes + [(.valueLength, .number(32))])
  }

  static let onToken = Template([(.token, .flag(true))])

  static let readBack: [AttributeType] = [
    .sensitive, .extractable, .alwaysSensitive, .neverExtractable, .local, .wrap, .unwrap, .encrypt, .decrypt,
  ]

  /// Compares what the token says it made with what was asked for. It proves the attributes, not the token.
  static func check(_ values: [[UInt8]?], _ request: NewKeyVersion, isImport: Bool) throws(KMSError) {
    let flags = KeyIndex.Flags(request.purpose, .active)
    let expected: [(name: String, value: Bool)] = [
      ("CKA_SENSITIVE", true), ("CKA_EXTRACTABLE", false), ("CKA_ALWAYS_SENSITIVE", !isImport),
      ("CKA_NEVER_EXTRACTABLE", !isImport), ("CKA_LOCAL", !isImport), ("CKA_WRAP", flags.wrap),
      ("CKA_UNWRAP", flags.unwrap), ("CKA_ENCRYPT", flags.encrypt), ("CKA_DECRYPT", flags.decrypt),
    ]
    for ((name, value), read) in zip(expected, values) where read != [value ? 1 : 0] {
      throw KMSError(
        .tokenNotTrustworthy, "the token made a key with another \(name) than it was asked for; it was destroyed again",
        advice: "Do not keep keys in this token before its vendor has explained that.",
        key: "\(request.key) \(request.id)", operation: "create-version", cause: "\(name) is not \(value)")
    }
  }
}

extension PKCS11Provider {
  /// Number of session objects that this process has in the token. Between calls there is none.
  package func sessionObjectCount() async throws -> Int {
    try await calling("count-session-objects") { connection in
      try await connection.pool.alone { session throws(CallFailure) in
        try session.find(Template([(.token, .flag(false))])).count
      }
    }
  }

  /// Number of objects in the token that are neither a key version nor the record of one's state.
  package func strayObjectCount() async throws -> Int {
    let versions = try await keyVersions(of: nil)
    return try await calling("count-stray-objects") { connection in
      try await connection.pool.alone { session throws(CallFailure) in
        let all = try session.find(Template([(.token, .flag(true))])).count
        return all - versions.count - (try session.find(StateRecord.all).count)
      }
    }
  }
}
