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

  /// AES keys with this id.
  static func keys(_ id: KeyVersionID) -> Template {
    Template([
      (.objectClass, .number(secretKey)), (.keyType, .number(aes)), (.token, .flag(true)), (.id, .bytes(id.bytes)),
    ])
  }

  /// Every secret key on the token.
  static let allSecretKeys = Template([(.objectClass, .number(secretKey)), (.token, .flag(true))])

  /// Any secret key with this id, whatever it is.
  static func withID(_ id: KeyVersionID) -> Template {
    Template([(.objectClass, .number(secretKey)), (.token, .flag(true)), (.id, .bytes(id.bytes))])
  }

  /// Attributes that some token refuses, in the order in which they are given up. What the token then makes of them is
  /// read back.
  static let profiles: [(name: String, without: Set<AttributeType>)] = [
    ("full", []), ("without CKA_SIGN, CKA_VERIFY and CKA_DERIVE", otherUses),
    ("without CKA_PRIVATE", [.isPrivate]), ("without the uses that it has not", otherUses.union(unused)),
    ("with what must be said only", otherUses.union(unused).union([.isPrivate])),
  ]

  private static let otherUses: Set<AttributeType> = [.sign, .verify, .derive]
  /// Those of the four that would be false.
  private static let unused: Set<AttributeType> = [.wrap, .unwrap, .encrypt, .decrypt]

  typealias Attributes = [(AttributeType, Template.Value)]

  static func newKey(_ request: NewKeyVersion, _ algorithm: WrapAlgorithm = .a256KW, isImport: Bool) -> Attributes {
    let flags = KeyIndex.Flags(request.purpose, .active, algorithm)
    let attributes: Attributes = [
      (.objectClass, .number(secretKey)), (.keyType, .number(aes)), (.token, .flag(true)), (.isPrivate, .flag(true)),
      (.sensitive, .flag(true)), (.extractable, .flag(false)), (.label, .bytes(Array(request.key.description.utf8))),
      (.id, .bytes(request.id.bytes)), (.wrap, .flag(flags.wrap)), (.unwrap, .flag(flags.unwrap)),
      (.encrypt, .flag(flags.encrypt)), (.decrypt, .flag(flags.decrypt)), (.sign, .flag(false)),
      (.verify, .flag(false)), (.derive, .flag(false)),
    ]
    return isImport ? attributes : attributes + [(.valueLength, .number(32))]
  }

  /// The attributes as a profile has them.
  static func template(
    _ attributes: Attributes, without: Set<AttributeType> = [], isOnToken: Bool = true
  ) -> Template {
    Template(
      attributes.compactMap { type, value in
        if type == .token { return (type, .flag(isOnToken)) }
        guard without.contains(type) else { return (type, value) }
        if unused.contains(type), case .flag(true) = value { return (type, value) }
        return nil
      })
  }

  /// A session key to try wrapping with.
  static func probe(encrypts: Bool) -> Attributes {
    [
      (.objectClass, .number(secretKey)), (.keyType, .number(aes)), (.token, .flag(false)), (.isPrivate, .flag(true)),
      (.sensitive, .flag(true)), (.extractable, .flag(false)), (.wrap, .flag(!encrypts)), (.unwrap, .flag(!encrypts)),
      (.encrypt, .flag(encrypts)), (.decrypt, .flag(encrypts)), (.valueLength, .number(32)),
    ]
  }

  private static let modulusBits = UInt(3072)
  private static let exponent: [UInt8] = [1, 0, 1]

  /// 2048 bits do for a try.
  static let probeRSA = (
    publicKey: Template([
      (.token, .flag(false)), (.encrypt, .flag(true)), (.modulusBits, .number(2048)),
      (.publicExponent, .bytes(exponent)),
    ]),
    privateKey: Template([
      (.token, .flag(false)), (.isPrivate, .flag(true)), (.sensitive, .flag(true)), (.extractable, .flag(false)),
      (.decrypt, .flag(true)),
    ])
  )

  static func newPair(_ request: NewKeyVersion) -> (publicKey: Template, privateKey: Template) {
    let name: Attributes = [
      (.token, .flag(true)), (.label, .bytes(Array(request.key.description.utf8))), (.id, .bytes(request.id.bytes)),
    ]
    return (
      Template(
        name + [
          (.encrypt, .flag(true)), (.verify, .flag(false)), (.wrap, .flag(false)), (.modulusBits, .number(modulusBits)),
          (.publicExponent, .bytes(exponent)),
        ]),
      Template(
        name + [
          (.isPrivate, .flag(true)), (.sensitive, .flag(true)), (.extractable, .flag(false)), (.decrypt, .flag(true)),
          (.unwrap, .flag(false)), (.sign, .flag(false)),
        ])
    )
  }

  static func privateRSA(_ id: KeyVersionID) -> Template {
    Template([(.objectClass, .number(3)), (.token, .flag(true)), (.id, .bytes(id.bytes))])  // CKO_PRIVATE_KEY
  }

  static func publicRSA(_ id: KeyVersionID) -> Template {
    Template([(.objectClass, .number(2)), (.token, .flag(true)), (.id, .bytes(id.bytes))])  // CKO_PUBLIC_KEY
  }

  static let onToken = Template([(.token, .flag(true))])

  static let readBack: [AttributeType] = [
    .sensitive, .extractable, .isPrivate, .derive, .alwaysSensitive, .neverExtractable, .local, .wrap, .unwrap,
    .encrypt, .decrypt, .id,
  ]

  /// Compares what the token says it made with what was asked for. It proves the attributes, not the token.
  static func check(
    _ values: [[UInt8]?], _ request: NewKeyVersion, _ algorithm: WrapAlgorithm, isImport: Bool, of token: Token
  ) throws(KMSError) {
    let isPair = algorithm != .a256KW && algorithm != .a256GCM
    var flags = KeyIndex.Flags(request.purpose, .active, algorithm)
    if isPair { flags = .privateRSA }
    let expected: [(name: String, value: Bool)] = [
      ("CKA_SENSITIVE", true), ("CKA_EXTRACTABLE", false), ("CKA_PRIVATE", true), ("CKA_DERIVE", false),
      ("CKA_ALWAYS_SENSITIVE", !isImport),
      ("CKA_NEVER_EXTRACTABLE", !isImport), ("CKA_LOCAL", !isImport), ("CKA_WRAP", flags.wrap),
      ("CKA_UNWRAP", flags.unwrap), ("CKA_ENCRYPT", flags.encrypt), ("CKA_DECRYPT", flags.decrypt),
    ]
    var wanted: [(name: String, bytes: [UInt8])] = expected.map { ($0.name, [$0.value ? 1 : 0]) }
    wanted.append(("CKA_ID", request.id.bytes))
    for ((name, value), read) in zip(wanted, values) where read != value {
      if name == "CKA_LOCAL", !token.tellsLocal { continue }
      // Where it is not known, there is no such use.
      if read == nil, name == "CKA_DERIVE" { continue }
      // A private key has no such use at all.
      if isPair, read == nil, ["CKA_WRAP", "CKA_ENCRYPT"].contains(name) { continue }
      throw KMSError(
        .tokenNotTrustworthy, "the token made a key with another \(name) than it was asked for; it was destroyed again",
        advice: "Do not keep keys in this token before its vendor has explained that.",
        key: "\(request.key) \(request.id)", operation: "create-version", cause: "\(name) is not as asked")
    }
  }
}

extension PKCS11Provider {
  /// Number of session objects that this process has in the token, copies of KEKs not counted. Between calls there is
  /// none.
  package func sessionObjectCount() async throws -> Int {
    try await calling("count-session-objects") { connection in
      try await connection.pool.alone { session throws(CallFailure) in
        try session.find(Template([(.token, .flag(false))])).count - session.find(Session.copies).count
      }
    }
  }

  /// Number of copies of KEKs that this process has in the token.
  package func copyCount() async throws -> Int {
    try await calling("count-copies") { connection in
      try await connection.pool.alone { session throws(CallFailure) in try session.find(Session.copies).count }
    }
  }

  /// Number of objects in the token that are neither a key version nor the record of one's state.
  package func strayObjectCount() async throws -> Int {
    try await calling("count-stray-objects") { connection in
      try await connection.pool.alone { session throws(CallFailure) in
        let all = try session.find(Template([(.token, .flag(true))])).count
        let keys = try KeyIndex(reading: session, provider: "").entries.values
        let others = keys.filter { $0.algorithm != .a256KW }  // with a record each, and perhaps a public key
        return all - keys.count - others.map(\.all.count).reduce(0, +) - (try session.records(StateRecord.kind).count)
      }
    }
  }
}
