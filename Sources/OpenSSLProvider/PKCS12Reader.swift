internal import COpenSSL
internal import CryptoPrimitives
internal import KMSCore
internal import SoftwareKeys

/// Reads what ``PKCS12Writer`` writes, and refuses weaker protection.
enum PKCS12Reader {
  static func decode(
    _ der: [UInt8], passphrase: borrowing SecretBytes, path: String, provider: String
  ) throws -> KeyTable {
    let store = unsafe der.withUnsafeBufferPointer { buffer in  // d2i copies
      var start = buffer.baseAddress
      let store = unsafe d2i_PKCS12(nil, &start, buffer.count)  // ours until it is handed on or freed
      let isWhole = unsafe start == buffer.baseAddress.map { unsafe $0 + buffer.count }  // live pointers
      guard !isWhole else { return unsafe store }  // ours until it is handed on or freed
      unsafe PKCS12_free(store)  // ours, freed once
      return nil
    }
    guard let store = unsafe store else { throw damaged(path, "it is no PKCS#12 file") }  // only compared with nil
    defer { unsafe PKCS12_free(store) }  // ours, freed once
    let macIterations = unsafe strongroom_pkcs12_mac_iterations(store)  // the store is alive
    guard macIterations >= PKCS12Format.iterations else {
      throw weak(
        path, macIterations == 0 ? "it has no MAC by HMAC-SHA-256" : "its MAC has \(macIterations) iterations")
    }
    return try passphrase.withBytes { bytes throws(any Error) in
      try unsafe bytes.withUnsafeBytes { buffer throws(any Error) in  // for the call only
        let text = unsafe buffer.baseAddress?.assumingMemoryBound(to: CChar.self)  // bytes are bytes
        guard unsafe PKCS12_verify_mac(store, text, CInt(buffer.count)) == 1 else {  // pointers for the call only
          OpenSSLFailure.clear()
          throw KMSError(
            .accessDenied, "the passphrase of \(path) is wrong, or the key store was changed",
            advice: "Check the passphrase's source; if it is right, restore the key store from a good copy.")
        }
        return try unsafe readSafes(of: store, text, CInt(buffer.count), path: path, provider: provider)  // live
      }
    }
  }

  @unsafe  // its pointers must be alive
  private static func readSafes(
    of store: OpaquePointer, _ passphrase: UnsafePointer<CChar>?, _ size: CInt, path: String, provider: String
  ) throws -> KeyTable {
    guard let safes = unsafe strongroom_pkcs12_safes(store) else {  // the store is alive
      throw damaged(path, "its safes cannot be read")
    }
    defer { unsafe strongroom_safes_free(safes) }  // ours, freed once
    var table = KeyTable()
    for i in 0..<(unsafe strongroom_safes_count(safes)) {  // the store is alive
      let safe = unsafe strongroom_safes_at(safes, i)  // the store owns it, and is alive
      let iterations = unsafe strongroom_pkcs7_pbkdf2_iterations(safe)  // the store is alive
      guard iterations >= PKCS12Format.iterations else {
        throw weak(path, "it is not encrypted by PBES2 with AES-256 and so many iterations of PBKDF2")
      }
      guard let bags = unsafe strongroom_pkcs7_bags(safe, passphrase, size) else {  // the store is alive
        throw damaged(path, "a safe cannot be decrypted")
      }
      defer { unsafe strongroom_bags_free(bags) }  // ours, freed once
      for k in 0..<(unsafe strongroom_bags_count(bags)) {  // the store is alive
        let bag = unsafe strongroom_bags_at(bags, k)  // the store owns it, and is alive
        guard let bag = unsafe bag else { continue }  // only compared with nil
        if let signer = try unsafe signer(bag, path: path) {  // the store owns it, and is alive
          table.insert(signer)
        } else {
          _ = try table.insert(unsafe entry(bag, path: path, provider: provider))  // the store owns it, and is alive
        }
      }
    }
    return table
  }

  @unsafe  // its pointers must be alive
  private static func entry(_ bag: OpaquePointer, path: String, provider: String) throws -> KeyTable.Entry {
    let type = unsafe PKCS12_SAFEBAG_get0_bag_type(bag)  // the store owns it, and is alive
    // In this order: libcrypto must know our own identifier before it is asked for it.
    let kinds = KeyPurpose.allCases.map { ($0, PKCS12Format.bagType($0)) }
    let kind = unsafe OBJ_obj2nid(type)  // the store owns it, and is alive
    let purpose = kinds.first { $0.1 == kind }?.0
    guard unsafe PKCS12_SAFEBAG_get_nid(bag) == NID_secretBag, let purpose,  // the store owns it, and is alive
      let value = unsafe PKCS12_SAFEBAG_get0_bag_obj(bag), unsafe value.pointee.type == V_ASN1_OCTET_STRING,  // live
      let octets = unsafe value.pointee.value.octet_string,  // the store owns it, and is alive
      let name = unsafe PKCS12_get_friendlyname(bag)  // the store owns it, and is alive
    else { throw damaged(path, "it holds something that is no key of the suite") }
    defer { unsafe OPENSSL_free_(name) }  // ours, freed once
    guard unsafe octets.pointee.length == 32, let key = try? KeyName(unsafe String(cString: name)),  // live pointers
      let id = unsafe attribute(bag, NID_localKeyID), let version = try? KeyVersionID(id),  // the store is alive
      let stateText = unsafe attribute(bag, PKCS12Format.stateIdentifier),  // the store owns it, and is alive
      let state = KeyState(rawValue: String(decoding: stateText, as: UTF8.self)), state != .destroyed
    else { throw damaged(path, "a key in it has no right length, name, id or state") }
    let kek = SecretBytes(copying: unsafe Span(_unsafeStart: octets.pointee.data, count: 32))  // the store is alive
    return KeyTable.Entry(
      version: KeyVersion(
        id: version, key: key, purpose: purpose, state: state, enforcement: .suite, provider: provider), kek: kek)
  }

  /// Nil for a bag that is another kind of key.
  @unsafe  // its pointers must be alive
  private static func signer(_ bag: OpaquePointer, path: String) throws -> KeyTable.Signer? {
    let type = unsafe PKCS12_SAFEBAG_get0_bag_type(bag)  // the store owns it, and is alive
    let signing = PKCS12Format.signingKey  // libcrypto must know our own identifier before it is asked for it
    guard unsafe PKCS12_SAFEBAG_get_nid(bag) == NID_secretBag,  // the store owns it, and is alive
      unsafe OBJ_obj2nid(type) == signing  // as above
    else { return nil }
    guard let value = unsafe PKCS12_SAFEBAG_get0_bag_obj(bag),  // the store owns it, and is alive
      unsafe value.pointee.type == V_ASN1_OCTET_STRING,  // as above
      let octets = unsafe value.pointee.value.octet_string, let text = unsafe PKCS12_get_friendlyname(bag)  // live
    else { throw damaged(path, "a signing key in it has no bytes or no name") }
    defer { unsafe OPENSSL_free_(text) }  // ours, freed once
    let secret = SecretBytes(
      copying: unsafe Span(_unsafeStart: octets.pointee.data, count: Int(octets.pointee.length)))  // the store is alive
    guard let name = try? KeyName(unsafe String(cString: text)),  // freed below, ends by 0
      let id = unsafe attribute(bag, NID_localKeyID),  // the store owns it, and is alive
      let version = try? KeyVersionID(id), let key = try? ECDSAKey(pkcs8: secret)
    else { throw damaged(path, "a signing key in it has no right name, id or bytes") }
    return KeyTable.Signer(id: version, name: name, key: key)
  }

  @unsafe  // its pointers must be alive
  private static func attribute(_ bag: OpaquePointer, _ identifier: CInt) -> [UInt8]? {
    guard let value = unsafe PKCS12_SAFEBAG_get0_attr(bag, identifier),  // the store owns it, and is alive
      unsafe value.pointee.type == V_ASN1_OCTET_STRING || value.pointee.type == V_ASN1_UTF8STRING,  // live pointers
      let string = unsafe value.pointee.value.asn1_string  // the store owns it, and is alive
    else { return nil }
    return unsafe Array(UnsafeBufferPointer(start: string.pointee.data, count: Int(string.pointee.length)))  // live
  }

  private static func damaged(_ path: String, _ problem: String) -> KMSError {
    KMSError(
      .keyStoreDamaged, "the key store \(path) cannot be read: \(problem)",
      advice: "Restore it from a good copy; it was not changed.", cause: OpenSSLFailure.error("PKCS#12").cause)
  }

  private static func weak(_ path: String, _ problem: String) -> KMSError {
    KMSError(
      .keyStoreDamaged, "the key store \(path) is protected too weakly: \(problem)",
      advice: "At least \(PKCS12Format.iterations) iterations are needed; use a store that the suite made.")
  }
}
