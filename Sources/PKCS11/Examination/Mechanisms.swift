internal import CP11Kit
internal import KMSCore

extension Token {
  /// What the token says that it can do. What it can is found out by trying.
  package func mechanisms(in module: Module) throws(CallFailure) -> Set<UInt> {
    let functions = unsafe module.functions.pointee  // constant while the module is loaded
    var count: UInt = 0
    try unsafe check(functions.C_GetMechanismList(slot, nil, &count), "C_GetMechanismList")  // for the call only
    var types = [UInt](repeating: 0, count: Int(min(count, 4096)) + 8)
    count = UInt(types.count)
    try unsafe check(functions.C_GetMechanismList(slot, &types, &count), "C_GetMechanismList")  // for the call only
    return Set(types.prefix(Int(count)))
  }
}

extension Session {
  /// Whether the token gives out `key`, wrapped under `kek` by AES Key Wrap.
  package func givesOut(_ key: UInt, under kek: UInt) -> Bool {
    var mechanism = unsafe CK_MECHANISM(mechanism: CKM_AES_KEY_WRAP, pParameter: nil, ulParameterLen: 0)  // no pointer
    var wrapped = [UInt8](repeating: 0, count: 96)
    var count = UInt(wrapped.count)
    return unsafe functions.C_WrapKey(  // for the call only
      handle, &mechanism, kek, key, &wrapped, &count) == CKR_OK
  }
}

extension Token {
  /// The one token that there is, for who names none.
  package static func only(in module: Module) throws -> Token {
    let tokens = try all(in: module).filter { !$0.label.isEmpty }
    guard let token = tokens.first else { return try find(label: "", serial: nil, in: module) }  // says what is there
    guard tokens.count == 1 else {
      throw KMSError(
        .invalidInput, "\(module.path) has \(tokens.count) tokens",
        advice: "Name one with --token: \(tokens.map(\.label).sorted().joined(separator: ", ")).")
    }
    return token
  }
}
