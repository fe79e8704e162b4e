internal import CP11Kit
internal import Glibc
internal import KMSCore
internal import Synchronization

/// A loaded and initialised PKCS#11 module. p11-kit counts the users in this process, so another library's use of
/// the same module neither disturbs this one nor is disturbed.
@safe
package final class Module: @unchecked Sendable {  // the function list is constant; Cryptoki does its own locking
  let functions: UnsafeMutablePointer<CK_FUNCTION_LIST>
  package let path: String
  private let process = ForkMark.current
  /// How many sessions are open or being opened; far below zero once it is ended. A module is never ended under them:
  /// SoftHSM crashes, and a call that comes late would take p11-kit's freed function list.
  private let sessions = Atomic(0)
  private static let ended = Int.min / 2
  /// p11-kit counts users, but lets go of its lock inside: a first user that comes while the last one goes would find
  /// the module ended, or unloaded. One lock a module: starting one may hang.
  private static let locks = Mutex<[String: StartAndEnd]>([:])
  private final class StartAndEnd: Sendable { let lock = Mutex(OwnUse()) }
  private let startAndEnd: StartAndEnd
  private let isOwn: Bool

  /// Of a module that wants a text when it is started, which p11-kit does not pass on: we start and count it.
  private struct OwnUse {
    var count = 0
    var arguments = ""
    /// Not where somebody else in this process had started it: it is theirs to end.
    var isStarted = false
  }

  /// - Parameter arguments: text for C_Initialize (pReserved), which NSS wants; nil for any other module.
  /// - Throws: ``KMSError/Code/configurationInvalid`` for a bare name, ``KMSError/Code/providerUnavailable``.
  package init(path: String, arguments: String? = nil) throws {
    guard path.contains("/") else {
      throw KMSError(
        .configurationInvalid, "the PKCS#11 module '\(path)' is not a path",
        advice: "Write it with its folder, so that no other library of that name is taken.")
    }
    guard unsafe access(path, R_OK) == 0 else {  // a Swift string, for the call only
      throw KMSError(
        .providerUnavailable, "there is no PKCS#11 module \(path)",
        advice: "Install it, or correct module-path; on Debian SoftHSM's is /usr/lib/softhsm/libsofthsm2.so.")
    }
    startAndEnd = Self.locks.withLock { locks in
      let lock = locks[path] ?? StartAndEnd()
      locks[path] = lock
      return lock
    }
    unsafe self.functions = try startAndEnd.lock.withLock { use in  // constant while the module is loaded
      guard let arguments else { return unsafe try Self.start(path) }  // constant while the module is loaded
      return unsafe try Self.start(path, arguments, &use)  // constant while the module is loaded
    }
    isOwn = arguments != nil
    self.path = path
  }

  private static func start(_ path: String) throws -> UnsafeMutablePointer<CK_FUNCTION_LIST> {
    let functions = unsafe try load(path, flags: 0)  // constant while the module is loaded
    try unsafe check(p11_kit_module_initialize(functions), functions, path)  // the module that was loaded
    return unsafe functions  // constant while the module is loaded
  }

  private static func start(
    _ path: String, _ arguments: String, _ use: inout OwnUse
  ) throws -> UnsafeMutablePointer<CK_FUNCTION_LIST> {
    guard use.count == 0 || use.arguments == arguments else {
      throw KMSError(
        .configurationInvalid, "the PKCS#11 module \(path) is in use with other init-args",
        advice: "A module is started once a process: give all providers that use it the same init-args.")
    }
    let functions = unsafe try load(path, flags: CInt(P11_KIT_MODULE_UNMANAGED))  // constant while the module is loaded
    if use.count == 0 {
      let returned = unsafe strongroom_initialize(functions, arguments)  // C strings for the call only
      use.isStarted = returned == CKR_OK
      if returned != CKR_CRYPTOKI_ALREADY_INITIALIZED { try unsafe check(returned, functions, path) }  // call only
    }
    use.arguments = arguments
    use.count += 1
    return unsafe functions  // constant while the module is loaded
  }

  private static func load(_ path: String, flags: CInt) throws -> UnsafeMutablePointer<CK_FUNCTION_LIST> {
    guard let functions = unsafe p11_kit_module_load(path, flags) else {  // C strings for the call only
      let reason = unsafe p11_kit_message().map { unsafe String(cString: $0) } ?? "unknown"  // call only
      throw KMSError(
        .providerUnavailable, "\(path) cannot be loaded as a PKCS#11 module", advice: "Is it one for this machine?",
        cause: "p11_kit_module_load: \(reason)")
    }
    return unsafe functions  // constant while the module is loaded
  }

  private static func check(
    _ returned: UInt, _ functions: UnsafeMutablePointer<CK_FUNCTION_LIST>, _ path: String
  ) throws {
    guard returned == CKR_OK else {
      unsafe p11_kit_module_release(functions)  // not used after
      throw KMSError(
        .providerUnavailable, "the PKCS#11 module \(path) does not start",
        advice: "Check its own configuration (SoftHSM: SOFTHSM2_CONF and the token folder; NSS: init-args).",
        cause: "C_Initialize: \(ReturnValue(returned))")
    }
  }

  /// A call that hangs keeps its session, and so the module.
  deinit { withoutSIGPIPE { end() } }

  /// Ends the use of the module, so that the next one starts it anew: unless a call hangs in it, or somebody else in
  /// this process uses it.
  package func end() {
    guard isThisProcess,
      sessions.compareExchange(expected: 0, desired: Self.ended, ordering: .sequentiallyConsistent).exchanged
    else { return }
    startAndEnd.lock.withLock { use in
      if isOwn {
        use.count -= 1
        if use.count == 0, use.isStarted { _ = unsafe functions.pointee.C_Finalize(nil) }  // not used after
      } else {
        unsafe p11_kit_module_finalize(functions)  // not used after
      }
      unsafe p11_kit_module_release(functions)  // not used after
    }
  }

  /// Before a session is opened: from here on the module is not ended.
  func beginSession() throws(CallFailure) {
    guard sessions.add(1, ordering: .sequentiallyConsistent).oldValue >= 0 else {
      throw CallFailure(function: "C_OpenSession", returned: ReturnValue(CKR_CRYPTOKI_NOT_INITIALIZED))
    }
  }

  /// After it was closed, or was not opened.
  func endSession() { sessions.subtract(1, ordering: .sequentiallyConsistent) }

  /// False in a forked child, which must not end what is the parent's.
  package var isThisProcess: Bool { ForkMark.current == process }

  /// - Throws: in a forked child: sessions and logins are the parent's.
  package func checkProcess() throws {
    guard isThisProcess else {
      throw KMSError(
        .providerUnavailable, "the token was opened before this process was forked",
        advice: "Start the child with exec.")
    }
  }
}
