internal import CP11Kit
internal import KMSCore

/// A token in a slot. The slot's number is only good for now: tokens are found by label and serial number.
package struct Token: Sendable {
  package let label: String
  package let serial: String
  package let firmware: String
  /// Whether it keeps its objects in files that it overwrites in place. SoftHSM truncates an object's file before it
  /// writes it anew: killed in between, the key is lost; and another process that reads it then is refused. What is
  /// copied there is written once, and whole.
  package let overwritesObjects: Bool
  /// Whether it says of a secret key that it was made there. NSS says of every one that it was not (CKA_LOCAL).
  package let tellsLocal: Bool
  package let slot: UInt
  /// What its abilities depend on. Serial numbers of some are all zeros: the label tells those apart.
  package var identity: String { "\(manufacturer) \(model) \(serial) \(firmware) \(label)" }
  private let manufacturer: String
  private let model: String
  let flags: UInt

  /// - Throws: ``KMSError/Code/pinLocked`` when the PIN is locked, or one more wrong one would lock it.
  package func checkPINMayBeTried() throws {
    if flags & CKF_USER_PIN_LOCKED != 0 {
      throw KMSError(
        .pinLocked, "the PIN of token '\(label)' is locked", advice: "Its security officer must unlock it.")
    }
    if flags & CKF_USER_PIN_FINAL_TRY != 0 {
      throw KMSError(
        .pinLocked, "one more wrong PIN locks token '\(label)', so none was tried",
        advice: "Log in once with the right PIN and the vendor's tool, then try again.")
    }
  }

  /// - Throws: ``KMSError/Code/providerUnavailable``, naming the tokens that are there.
  package static func find(label: String, serial: String?, in module: Module) throws -> Token {
    let (tokens, failure) = try read(in: module)
    let matching = tokens.filter { $0.label == label && (serial == nil || $0.serial == serial) }
    guard let token = matching.first else {
      // A slot's token that was not initialised has neither.
      let there = tokens.filter { !$0.label.isEmpty || !$0.serial.isEmpty }.map {
        "'\($0.label)' (serial \($0.serial))"
      }.joined(separator: ", ")
      throw KMSError(
        .providerUnavailable, "there is no token '\(label)'\(serial.map { " with serial \($0)" } ?? "")",
        advice: there.isEmpty ? "\(module.path) shows no token at all." : "There are: \(there).",
        cause: failure?.error.cause)
    }
    guard matching.count == 1 else {
      throw KMSError(
        .configurationInvalid, "\(matching.count) tokens have the label '\(label)'",
        advice: Set(matching.map(\.serial)).count == matching.count
          ? "Add serial= to the URI: \(matching.map(\.serial).joined(separator: ", "))."
          : "Their serial numbers do not tell them apart: give one another label with the vendor's tool.")
    }
    return token
  }

  /// Whether a token may be there that is not shown: by SoftHSM, which always shows a slot that is free, and none else.
  package static func mayBePassedOver(in module: Module) -> Bool {
    guard let shown = try? all(in: module) else { return false }
    return shown.allSatisfy { $0.overwritesObjects && $0.label.isEmpty } && !shown.isEmpty
  }

  static func all(in module: Module) throws -> [Token] { try read(in: module).tokens }

  /// Those that say what they are, and the last failure of those that do not.
  private static func read(in module: Module) throws -> (tokens: [Token], failure: CallFailure?) {
    do throws(CallFailure) {
      var count: UInt = 0
      try unsafe check(module.functions.pointee.C_GetSlotList(1, nil, &count), "C_GetSlotList")  // for the call only
      var slots = [UInt](repeating: 0, count: Int(count) + 8)  // one may have come meanwhile
      count = UInt(slots.count)
      try unsafe check(module.functions.pointee.C_GetSlotList(1, &slots, &count), "C_GetSlotList")  // for the call only
      var tokens: [Token] = []
      var failure: CallFailure?
      for slot in slots.prefix(Int(count)) {
        do { tokens.append(try Token(slot: slot, in: module)) } catch { failure = error }
      }
      return (tokens, failure)
    } catch { throw error.error }
  }

  init(slot: UInt, in module: Module) throws(CallFailure) {
    var info = CK_TOKEN_INFO()
    try unsafe check(module.functions.pointee.C_GetTokenInfo(slot, &info), "C_GetTokenInfo")  // `info` outlives it
    label = unsafe withUnsafeBytes(of: info.label) { unsafe Self.text($0) }  // fixed-size arrays, padded with blanks
    serial = unsafe withUnsafeBytes(of: info.serialNumber) { unsafe Self.text($0) }  // for the call only
    manufacturer = unsafe withUnsafeBytes(of: info.manufacturerID) { unsafe Self.text($0) }  // for the call only
    model = unsafe withUnsafeBytes(of: info.model) { unsafe Self.text($0) }  // for the call only
    overwritesObjects = manufacturer.hasPrefix("SoftHSM")
    tellsLocal = manufacturer != "Mozilla Foundation"
    firmware = "\(info.firmwareVersion.major).\(info.firmwareVersion.minor)"
    self.slot = slot
    flags = info.flags
  }

  @unsafe  // gives out pointers
  private static func text(_ padded: UnsafeRawBufferPointer) -> String {
    let end = unsafe padded.lastIndex { $0 != 0x20 && $0 != 0 }.map { $0 + 1 } ?? 0  // within the array
    return unsafe String(decoding: padded[..<end], as: UTF8.self)  // within the array
  }
}
