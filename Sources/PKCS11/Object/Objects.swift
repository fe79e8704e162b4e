internal import CP11Kit
package import KMSCore

/// Finding, reading, making and destroying objects.
extension Session {
  /// Handles of all objects that match, page by page.
  package func find(_ template: Template) throws(CallFailure) -> [UInt] {
    try sound { () throws(CallFailure) in
      try unsafe check(  // for the call only
        functions.C_FindObjectsInit(handle, template.attributes.baseAddress, template.count), "C_FindObjectsInit")
      var found: [UInt] = []
      var page = [UInt](repeating: 0, count: 256)
      var count: UInt = 0
      repeat {
        try unsafe check(  // for the call only
          functions.C_FindObjects(handle, &page, UInt(page.count), &count), "C_FindObjects")
        found += page.prefix(Int(count))
      } while count > 0
      try check(functions.C_FindObjectsFinal(handle), "C_FindObjectsFinal")
      try checkLogin()
      return found
    }
  }

  /// Values of attributes that are no secrets, in the order asked for; nil where the object has none.
  package func attributes(
    of object: UInt, _ types: [AttributeType]
  ) throws(CallFailure) -> [[UInt8]?] {
    let room = types.contains(.modulus) ? 1024 : 256
    var buffer = [UInt8](repeating: 0, count: room * types.count)
    let (returned, values) = unsafe buffer.withUnsafeMutableBytes { memory -> (UInt, [[UInt8]?]) in  // for the call
      var query = unsafe types.enumerated().map { i, type in  // for the call only
        unsafe CK_ATTRIBUTE(  // for the call only
          type: type.rawValue, pValue: memory.baseAddress! + i * room, ulValueLen: UInt(room))
      }
      let returned = unsafe functions.C_GetAttributeValue(handle, object, &query, UInt(query.count))  // call only
      let values = unsafe query.enumerated().map { i, attribute -> [UInt8]? in  // for the call only
        guard unsafe attribute.ulValueLen != STRONGROOM_CK_UNAVAILABLE, unsafe attribute.ulValueLen <= UInt(room) else {
          return nil
        }
        return unsafe Array(memory[(i * room)..<(i * room + Int(attribute.ulValueLen))])  // within what was allocated
      }
      return (returned, values)
    }
    // These tell that some are missing; the others are there.
    if ![CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_SENSITIVE, CKR_BUFFER_TOO_SMALL].contains(returned) {
      try check(returned, "C_GetAttributeValue")
    }
    return values
  }

  package func generateAES(_ template: Template) throws(CallFailure) -> UInt {
    var object: UInt = 0
    var mechanism = unsafe CK_MECHANISM(mechanism: CKM_AES_KEY_GEN, pParameter: nil, ulParameterLen: 0)  // no parameter
    try unsafe check(  // for the call only
      functions.C_GenerateKey(handle, &mechanism, template.attributes.baseAddress, template.count, &object),
      "C_GenerateKey", "CKM_AES_KEY_GEN")
    return object
  }

  /// A copy that ends with the session, with the attributes of the original.
  package func copyForSession(_ object: UInt) throws(CallFailure) -> UInt {
    let template = Template([(.token, .flag(false))])
    var copy: UInt = 0
    try unsafe check(  // for the call only
      functions.C_CopyObject(handle, object, template.attributes.baseAddress, template.count, &copy), "C_CopyObject")
    return copy
  }

  package func create(_ template: Template) throws(CallFailure) -> UInt {
    var object: UInt = 0
    try unsafe check(  // for the call only
      functions.C_CreateObject(handle, template.attributes.baseAddress, template.count, &object), "C_CreateObject")
    return object
  }

  /// An object with `secret` as CKA_VALUE, which stays where it is until the token has it.
  package func create(_ template: Template, value secret: borrowing SecretBytes) throws(CallFailure) -> UInt {
    var object: UInt = 0
    let returned = secret.withBytes { bytes in
      // All for the call only; Cryptoki does not write to the value.
      unsafe withUnsafeTemporaryAllocation(  // for the call only
        of: CK_ATTRIBUTE.self, capacity: Int(template.count) + 1
      ) { all in
        unsafe bytes.withUnsafeBufferPointer { value in  // for the call only
          for i in 0..<Int(template.count) { unsafe all.initializeElement(at: i, to: template.attributes[i]) }
          unsafe all.initializeElement(  // within what was allocated
            at: Int(template.count),
            to: CK_ATTRIBUTE(
              type: CKA_VALUE, pValue: UnsafeMutableRawPointer(mutating: value.baseAddress),
              ulValueLen: UInt(value.count)))
          return unsafe functions.C_CreateObject(  // for the call only
            handle, all.baseAddress, template.count + 1, &object)
        }
      }
    }
    try check(returned, "C_CreateObject")
    return object
  }

  /// As above, for a key that is to stay: a token whose policy forbids it says so in one of many ways.
  package func importKey(_ template: Template, value secret: borrowing SecretBytes) throws(CallFailure) -> UInt {
    do throws(CallFailure) { return try create(template, value: secret) } catch {
      throw error.returned.meansNoImports
        ? CallFailure(function: CallFailure.importing, returned: error.returned) : error
    }
  }

  /// A copy inside the token, with other values of the attributes in `template`.
  package func copy(_ object: UInt, _ template: Template) throws(CallFailure) -> UInt {
    var copy: UInt = 0
    try unsafe check(  // for the call only
      functions.C_CopyObject(handle, object, template.attributes.baseAddress, template.count, &copy), "C_CopyObject")
    return copy
  }

  /// Like ``attributes(of:_:)``; nil when another process has destroyed the object.
  package func attributesIfThere(of object: UInt, _ types: [AttributeType]) throws(CallFailure) -> [[UInt8]?]? {
    do throws(CallFailure) { return try attributes(of: object, types) } catch {
      guard error.returned.meansStaleHandle else { throw error }
      try checkLogin()  // without one, every handle is stale
      return nil
    }
  }

  /// Destroys an object, unless another process has.
  package func destroyIfThere(_ object: UInt) throws(CallFailure) {
    do throws(CallFailure) { try destroy(object) } catch {
      if error.returned.meansStaleHandle { return try checkLogin() }
      // Of two that destroy it at once, SoftHSM tells one that it failed (CKR_FUNCTION_FAILED): it is gone all the same.
      guard !error.returned.endsSession, case .some(.none) = try? attributesIfThere(of: object, [.id]) else {
        throw error
      }
    }
  }

  package func destroy(_ object: UInt) throws(CallFailure) {
    try check(functions.C_DestroyObject(handle, object), "C_DestroyObject")
  }

  /// One attribute a call: two at once are not atomic on all tokens.
  package func set(_ type: AttributeType, to flag: Bool, of object: UInt) throws(CallFailure) {
    let template = Template([(type, .flag(flag))])
    try unsafe check(  // for the call only
      functions.C_SetAttributeValue(handle, object, template.attributes.baseAddress, 1),
      "C_SetAttributeValue")
  }
}
