internal import CP11Kit
import KMSCore
import TestSupport
import Testing

/// A token by the plain C interface, as any program sees it. One caller at a time.
@safe
final class PlainToken: @unchecked Sendable {  // a test uses it by one thread at a time
  let functions: CK_FUNCTION_LIST
  private let list: UnsafeMutablePointer<CK_FUNCTION_LIST>
  private(set) var slot: UInt = 0
  private(set) var session: UInt = 0
  private let faulty: FaultyModule

  /// With a session that is logged in.
  init(_ faulty: FaultyModule) throws {
    self.faulty = faulty
    // Without p11-kit's own bookkeeping between the test and the module.
    let loaded = unsafe p11_kit_module_load(faulty.path, Int32(P11_KIT_MODULE_UNMANAGED))
    let list = unsafe try #require(loaded)
    unsafe self.list = list
    functions = unsafe list.pointee
    // p11-kit would call it without, and SoftHSM then takes no locks: not even for others in the process.
    var arguments = unsafe CK_C_INITIALIZE_ARGS()
    unsafe arguments.flags = CKF_OS_LOCKING_OK
    let started = unsafe functions.C_Initialize(&arguments)
    try #require(started == CKR_OK)
    try open()
  }

  deinit {
    _ = functions.C_Finalize(nil)
    unsafe p11_kit_module_release(list)
  }

  func open() throws {
    slot = try #require(try slots().first { info($0)?.label == faulty.token.label })
    var handle: UInt = 0
    try #require(openSession(&handle) == CKR_OK)
    session = handle
    try #require(login() == CKR_OK)
  }

  func openSession(_ handle: inout UInt, _ flags: UInt = CKF_SERIAL_SESSION | CKF_RW_SESSION) -> UInt {
    unsafe functions.C_OpenSession(slot, flags, nil, nil, &handle)
  }

  func login(_ pin: String? = nil) -> UInt {
    var pin = Array((pin ?? faulty.token.pin).utf8)
    return unsafe functions.C_Login(session, CKU_USER, &pin, UInt(pin.count))
  }

  func slots() throws -> [UInt] {
    var count: UInt = 512
    var slots = [UInt](repeating: 0, count: 512)
    try #require(unsafe functions.C_GetSlotList(1, &slots, &count) == CKR_OK)
    return Array(slots.prefix(Int(count)))
  }

  struct Info {
    let label: String
    let serial: String
    let firmware: String
    let flags: UInt
    let pinLengths: ClosedRange<UInt>
  }

  func info(_ slot: UInt) -> Info? {
    var info = CK_TOKEN_INFO()
    guard unsafe functions.C_GetTokenInfo(slot, &info) == CKR_OK else { return nil }
    func text(_ bytes: UnsafeRawBufferPointer) -> String {
      unsafe String(decoding: bytes, as: UTF8.self).split(separator: " ").joined(separator: " ")
    }
    return Info(
      label: unsafe withUnsafeBytes(of: info.label) { unsafe text($0) },
      serial: unsafe withUnsafeBytes(of: info.serialNumber) { unsafe text($0) },
      firmware: "\(info.firmwareVersion.major).\(info.firmwareVersion.minor)", flags: info.flags,
      pinLengths: info.ulMinPinLen...max(info.ulMinPinLen, info.ulMaxPinLen))
  }

  func random() -> UInt {
    var bytes = [UInt8](repeating: 0, count: 8)
    return unsafe functions.C_GenerateRandom(session, &bytes, 8)
  }

  var mechanisms: Set<UInt> {
    var types = [UInt](repeating: 0, count: 512)
    var count: UInt = 512
    guard unsafe functions.C_GetMechanismList(slot, &types, &count) == CKR_OK else { return [] }
    return Set(types.prefix(Int(count)))
  }

  // MARK: Keys

  enum Value {
    case flag(Bool)
    case number(UInt)
    case bytes([UInt8])
  }

  private func withTemplate<R>(
    _ values: [(UInt, Value)], _ body: (UnsafeMutablePointer<CK_ATTRIBUTE>, UInt) -> R
  ) -> R {
    let encoded = values.map { value -> [UInt8] in
      switch value.1 {
      case .flag(let flag): [flag ? 1 : 0]
      case .number(let number): unsafe withUnsafeBytes(of: number) { unsafe Array($0) }
      case .bytes(let bytes): bytes
      }
    }
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 128 * max(1, values.count), alignment: 8)
    defer { unsafe memory.deallocate() }
    var attributes = unsafe zip(values, encoded).enumerated().map { i, pair in
      let start = unsafe memory + 128 * i
      unsafe start.copyMemory(from: pair.1, byteCount: pair.1.count)
      return unsafe CK_ATTRIBUTE(type: pair.0.0, pValue: start, ulValueLen: UInt(pair.1.count))
    }
    return unsafe attributes.withUnsafeMutableBufferPointer { unsafe body($0.baseAddress!, UInt($0.count)) }
  }

  /// Makes an AES-256 key with these attributes besides the usual ones.
  func generate(_ others: [(UInt, Value)] = [], into handle: inout UInt) -> UInt {
    var mechanism = unsafe CK_MECHANISM(mechanism: CKM_AES_KEY_GEN, pParameter: nil, ulParameterLen: 0)
    let usual: [(UInt, Value)] = [
      (CKA_CLASS, .number(CKO_SECRET_KEY)), (CKA_KEY_TYPE, .number(CKK_AES)), (CKA_PRIVATE, .flag(true)),
      (CKA_VALUE_LEN, .number(32)), (CKA_WRAP, .flag(true)), (CKA_UNWRAP, .flag(true)),
    ]
    let all = usual.filter { one in !others.contains { $0.0 == one.0 } } + others
    return unsafe withTemplate(all) { unsafe functions.C_GenerateKey(session, &mechanism, $0, $1, &handle) }
  }

  func create(_ value: [UInt8], into handle: inout UInt) -> UInt {
    let all: [(UInt, Value)] = [
      (CKA_CLASS, .number(CKO_SECRET_KEY)), (CKA_KEY_TYPE, .number(CKK_GENERIC_SECRET)), (CKA_TOKEN, .flag(false)),
      (CKA_EXTRACTABLE, .flag(true)), (CKA_SENSITIVE, .flag(false)), (CKA_VALUE, .bytes(value)),
    ]
    return unsafe withTemplate(all) { unsafe functions.C_CreateObject(session, $0, $1, &handle) }
  }

  func set(_ type: UInt, _ value: Value, of key: UInt) -> UInt { set([(type, value)], of: key) }

  func set(_ values: [(UInt, Value)], of key: UInt) -> UInt {
    unsafe withTemplate(values) { unsafe functions.C_SetAttributeValue(session, key, $0, $1) }
  }

  func attribute(_ type: UInt, of key: UInt) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: 128)
    return unsafe bytes.withUnsafeMutableBytes { buffer in
      var query = unsafe CK_ATTRIBUTE(type: type, pValue: buffer.baseAddress, ulValueLen: 128)
      guard unsafe functions.C_GetAttributeValue(session, key, &query, 1) == CKR_OK else { return nil }
      return unsafe Array(buffer.prefix(Int(query.ulValueLen)))
    }
  }

  /// Without an id, all objects that there are.
  func find(id: [UInt8]? = nil) -> [UInt] {
    var found = [UInt](repeating: 0, count: 16)
    var count: UInt = 0
    guard
      unsafe withTemplate(
        id.map { [(CKA_ID, .bytes($0))] } ?? [], { unsafe functions.C_FindObjectsInit(session, $0, $1) }) == CKR_OK
    else { return [] }
    _ = unsafe functions.C_FindObjects(session, &found, 16, &count)
    _ = functions.C_FindObjectsFinal(session)
    return Array(found.prefix(Int(count)))
  }

  func wrap(_ key: UInt, under kek: UInt, by type: UInt = CKM_AES_KEY_WRAP, into wrapped: inout [UInt8]) -> UInt {
    var mechanism = unsafe CK_MECHANISM(mechanism: type, pParameter: nil, ulParameterLen: 0)
    wrapped = [UInt8](repeating: 0, count: 128)
    var count = UInt(wrapped.count)
    let returned = unsafe functions.C_WrapKey(session, &mechanism, kek, key, &wrapped, &count)
    wrapped = returned == CKR_OK ? Array(wrapped.prefix(Int(count))) : []
    return returned
  }

  /// What C_WrapKey says without a buffer.
  func wrappedSize(of key: UInt, under kek: UInt) -> UInt {
    var mechanism = unsafe CK_MECHANISM(mechanism: CKM_AES_KEY_WRAP, pParameter: nil, ulParameterLen: 0)
    var count: UInt = 0
    _ = unsafe functions.C_WrapKey(session, &mechanism, kek, key, nil, &count)
    return count
  }

  func unwrap(_ wrapped: [UInt8], under kek: UInt, _ others: [(UInt, Value)] = [], into key: inout UInt) -> UInt {
    var mechanism = unsafe CK_MECHANISM(mechanism: CKM_AES_KEY_WRAP, pParameter: nil, ulParameterLen: 0)
    var wrapped = wrapped
    let all: [(UInt, Value)] =
      [
        (CKA_CLASS, .number(CKO_SECRET_KEY)), (CKA_KEY_TYPE, .number(CKK_GENERIC_SECRET)), (CKA_TOKEN, .flag(false)),
        (CKA_EXTRACTABLE, .flag(true)), (CKA_SENSITIVE, .flag(false)),
      ] + others
    return unsafe withTemplate(all) {
      unsafe functions.C_UnwrapKey(session, &mechanism, kek, &wrapped, UInt(wrapped.count), $0, $1, &key)
    }
  }

  /// AES-GCM with `iv`, which a token may overwrite; output and IV as they are afterwards.
  func encrypt(
    _ plaintext: [UInt8], under key: UInt, iv: [UInt8], ivBits: UInt? = nil
  ) -> (returned: UInt, output: [UInt8], iv: [UInt8]) {
    var (plaintext, iv, aad) = (plaintext, iv, [UInt8(1)])
    var output = [UInt8](repeating: 0, count: plaintext.count + 64)
    var count = UInt(output.count)
    let returned = unsafe gcm(&iv, &aad, ivBits) { mechanism in
      let returned = unsafe functions.C_EncryptInit(session, mechanism, key)
      guard returned == CKR_OK else { return returned }
      return unsafe functions.C_Encrypt(session, &plaintext, UInt(plaintext.count), &output, &count)
    }
    return (returned, Array(output.prefix(returned == CKR_OK ? Int(count) : 0)), iv)
  }

  func decrypt(_ ciphertext: [UInt8], under key: UInt, iv: [UInt8]) -> [UInt8]? {
    var (ciphertext, iv, aad) = (ciphertext, iv, [UInt8(1)])
    var output = [UInt8](repeating: 0, count: ciphertext.count + 64)
    var count = UInt(output.count)
    let returned = unsafe gcm(&iv, &aad) { mechanism in
      let returned = unsafe functions.C_DecryptInit(session, mechanism, key)
      guard returned == CKR_OK else { return returned }
      return unsafe functions.C_Decrypt(session, &ciphertext, UInt(ciphertext.count), &output, &count)
    }
    return returned == CKR_OK ? Array(output.prefix(Int(count))) : nil
  }

  @unsafe
  private func gcm(
    _ iv: inout [UInt8], _ aad: inout [UInt8], _ ivBits: UInt? = nil,
    _ body: (UnsafeMutablePointer<CK_MECHANISM>) -> UInt
  ) -> UInt {
    unsafe iv.withUnsafeMutableBufferPointer { iv in
      unsafe aad.withUnsafeMutableBufferPointer { aad in
        var parameters = unsafe CK_GCM_PARAMS(
          pIv: iv.baseAddress, ulIvLen: UInt(iv.count), ulIvBits: ivBits ?? UInt(iv.count * 8), pAAD: aad.baseAddress,
          ulAADLen: 1, ulTagBits: 128)
        return unsafe withUnsafeMutablePointer(to: &parameters) { parameters in
          var mechanism = unsafe CK_MECHANISM(
            mechanism: CKM_AES_GCM, pParameter: UnsafeMutableRawPointer(parameters),
            ulParameterLen: UInt(MemoryLayout<CK_GCM_PARAMS>.size))
          return unsafe body(&mechanism)
        }
      }
    }
  }
}
