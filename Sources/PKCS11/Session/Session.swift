internal import CP11Kit
package import KMSCore

/// One session. It belongs to one caller at a time; the pool sees to that.
@safe
package final class Session: @unchecked Sendable {  // handed from caller to caller by the pool, never shared
  let module: Module
  let handle: UInt
  var functions: CK_FUNCTION_LIST { unsafe module.functions.pointee }
  /// False after a failure that may have left an operation active, or that lost the session.
  var isSound = true

  /// Opens a read-write session: some tokens have no others.
  package init(module: Module, slot: UInt) throws(CallFailure) {
    var handle: UInt = 0
    try unsafe check(
      module.functions.pointee.C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, nil, nil, &handle),
      "C_OpenSession")
    self.module = module
    self.handle = handle
  }

  /// Logs the user in for all sessions of this process.
  package func login(pin: borrowing SecretBytes) throws(CallFailure) {
    let returned = pin.withBytes { bytes in
      // Cryptoki takes a pointer that it does not write to
      unsafe bytes.withUnsafeBufferPointer {
        unsafe functions.C_Login(handle, CKU_USER, UnsafeMutablePointer(mutating: $0.baseAddress), UInt($0.count))
      }
    }
    guard returned != CKR_USER_ALREADY_LOGGED_IN else { return }
    try check(returned, "C_Login")
  }

  package func close() { _ = functions.C_CloseSession(handle) }

  /// Runs one call or chain of calls; a failure marks the session as not to be used again, as an operation may
  /// still be active in it.
  func sound<R: ~Copyable>(_ body: () throws(CallFailure) -> R) throws(CallFailure) -> R {
    do { return try body() } catch {
      isSound = false
      throw error
    }
  }
}
