internal import COpenSSL
internal import CryptoPrimitives
internal import KMSCore
internal import SoftwareKeys

/// The key store's form: PKCS#12 (RFC 7292) with one AuthSafe, encrypted by PBES2 (RFC 8018), in which each KEK
/// is a secret bag.
enum PKCS12Format {
  /// For PBKDF2 and for the MAC alike: the weaker one would decide.
  static let iterations = 600_000

  /// Own attribute for a version's state: an OID from a UUID (2.25, X.667).
  static let stateAttribute = "2.25.214640473210493715208437610429134028211"

  /// The bag's type says what the key is for.
  static func bagType(_ purpose: KeyPurpose) -> CInt {
    switch purpose {
    case .wrap: NID_id_aes256_wrap
    case .encrypt: NID_aes_256_gcm
    case .recovery: recoveryIdentifier
    }
  }

  /// Of its own, so that nothing that does not know recovery keys takes one for a key that unwraps.
  private static let recoveryIdentifier: CInt = unsafe OBJ_create(  // libcrypto copies the strings
    "2.25.216853329663428324447500776032091944588", "strongroomRecovery", "Strongroom recovery key")

  /// A private key on P-256 (PKCS#8, RFC 5958) that signs the access log.
  static let signingKey: CInt = unsafe OBJ_create(  // libcrypto copies the strings
    "2.25.280612470915362040118327734925816630147", "strongroomSigning", "Strongroom signing key")

  static let stateIdentifier: CInt = unsafe OBJ_create(  // libcrypto copies the strings
    stateAttribute, "strongroomState", "Strongroom key state")
}

enum PKCS12Writer {
  /// The store as DER. The KEKs in it are encrypted.
  static func encode(_ table: KeyTable, passphrase: borrowing SecretBytes) throws -> [UInt8] {
    guard let bags = unsafe strongroom_bags_new() else {  // ours from here on
      throw OpenSSLFailure.error("sk_PKCS12_SAFEBAG_new_null")
    }
    defer { unsafe strongroom_bags_free(bags) }  // ours, freed once
    for entry in table.all {
      let version = entry.version
      try unsafe add(  // ours until it is handed on or freed
        entry.kek, PKCS12Format.bagType(version.purpose), version.key, version.id, version.state, to: bags)
    }
    for signer in table.signers {
      try unsafe add(signer.key.pkcs8(), PKCS12Format.signingKey, signer.name, signer.id, .active, to: bags)  // live
    }
    let store = try unsafe passphrase.withBytes { bytes throws(any Error) in  // pointers for the call only
      try unsafe bytes.withUnsafeBytes { buffer throws(any Error) in  // for the call only
        let text = unsafe buffer.baseAddress?.assumingMemoryBound(to: CChar.self)  // bytes are bytes
        let iterations = CInt(PKCS12Format.iterations)
        let store = unsafe strongroom_pkcs12_make(bags, text, CInt(buffer.count), iterations)  // live for the call
        guard let store = unsafe store else { throw OpenSSLFailure.error("PKCS12_add_safes") }  // nil?
        return unsafe store  // ours until it is handed on or freed
      }
    }
    defer { unsafe PKCS12_free(store) }  // ours, freed once
    let size = unsafe i2d_PKCS12(store, nil)  // pointers for the call only
    guard size > 0 else { throw OpenSSLFailure.error("i2d_PKCS12") }
    return try unsafe [UInt8](unsafeUninitializedCapacity: Int(size)) { buffer, count in  // i2d writes `size` bytes
      var end = buffer.baseAddress
      guard unsafe i2d_PKCS12(store, &end) == size else { throw OpenSSLFailure.error("i2d_PKCS12") }  // live pointers
      count = Int(size)
    }
  }

  @unsafe  // its pointers must be alive
  private static func add(
    _ secret: borrowing SecretBytes, _ type: CInt, _ key: KeyName, _ version: KeyVersionID, _ state: KeyState,
    to bags: OpaquePointer
  ) throws {
    let bag = unsafe secret.withBytes { bytes in  // ours until it is handed on or freed
      unsafe bytes.withUnsafeBufferPointer {  // pointers for the call only
        unsafe PKCS12_SAFEBAG_create_secret(  // pointers for the call only
          type, V_ASN1_OCTET_STRING, $0.baseAddress, CInt($0.count))
      }
    }
    guard let bag = unsafe bag else { throw OpenSSLFailure.error("PKCS12_SAFEBAG_create_secret") }  // nil?
    guard unsafe strongroom_bags_push(bags, bag) > 0 else {  // ours until it is handed on or freed
      unsafe PKCS12_SAFEBAG_free(bag)  // ours, freed once
      throw OpenSSLFailure.error("sk_PKCS12_SAFEBAG_push")
    }
    // The bag belongs to the stack from here on.
    let name = key.description
    var id = version.bytes
    let state = Array(state.rawValue.utf8)
    guard unsafe PKCS12_add_friendlyname_utf8(bag, name, CInt(name.utf8.count)) == 1,  // pointers for the call only
      unsafe PKCS12_add_localkeyid(bag, &id, CInt(id.count)) == 1,  // pointers for the call only
      unsafe PKCS12_add1_attr_by_txt(  // pointers for the call only
        bag, PKCS12Format.stateAttribute, V_ASN1_UTF8STRING, state, CInt(state.count)) == 1
    else { throw OpenSSLFailure.error("PKCS12_add1_attr_by_txt") }
  }
}
