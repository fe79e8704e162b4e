internal import CP11Kit
package import KMSCore
internal import Synchronization

/// One session. It belongs to one caller at a time; the pool sees to that. Ends with its last owner.
@safe
package final class Session: @unchecked Sendable {  // handed from caller to caller by the pool, never shared
  let module: Module
  let handle: UInt
  var functions: CK_FUNCTION_LIST { unsafe module.functions.pointee }  // constant while the module is loaded
  /// False after a failure that may have left an operation active, or that lost the session.
  var isSound = true
  /// How keys are put into the session and got out of it, settled by ``Session/settle(_:)``.
  package var profile: SessionKeyProfile
  /// Whether it told of its login when there was one: not all tokens do.
  var showsLogin: Bool
  var copies = KEKCopies()
  /// Where the pool makes its calls; nil for the one that holds the login.
  var lane: Lane?
  // From the kernel: asking the token would be one call more, to a network HSM one more way there and back.
  var ivs = IVs()
  private let handOver = Atomic(false)

  /// Opens a read-write session: some tokens have no others.
  package init(
    module: Module, slot: UInt, profile: SessionKeyProfile = .full, showsLogin: Bool = false
  ) throws(CallFailure) {
    try module.beginSession()
    var handle: UInt = 0
    do throws(CallFailure) {
      try unsafe check(  // for the call only
        module.functions.pointee.C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, nil, nil, &handle),
        "C_OpenSession")
    } catch {
      module.endSession()
      throw error
    }
    self.module = module
    self.handle = handle
    self.profile = profile
    self.showsLogin = showsLogin
  }

  /// Whoever held it last may be a thread that was stuck in a call.
  deinit {
    guard module.isThisProcess else { return }
    withoutSIGPIPE { _ = functions.C_CloseSession(handle) }
    module.endSession()
  }

  /// Logs the user in for all sessions of this process.
  package func login(pin: borrowing SecretBytes) throws(CallFailure) {
    // Once, unless it is lost at once, or the token never tells of it.
    for _ in 0..<3 {
      let returned = pin.withBytes { bytes in
        // Cryptoki takes a pointer that it does not write to
        unsafe bytes.withUnsafeBufferPointer {  // for the call only
          unsafe functions.C_Login(  // for the call only
            handle, CKU_USER, UnsafeMutablePointer(mutating: $0.baseAddress), UInt($0.count))
        }
      }
      if returned != CKR_USER_ALREADY_LOGGED_IN { try check(returned, "C_Login") }
      do throws(CallFailure) { showsLogin = try isLoggedIn() } catch {
        guard error.returned.meansCannot else { throw error }
        return
      }
      if showsLogin { return }
    }
  }

  private func isLoggedIn() throws(CallFailure) -> Bool {
    var info = CK_SESSION_INFO()
    try unsafe check(functions.C_GetSessionInfo(handle, &info), "C_GetSessionInfo")  // `info` outlives the call
    return [CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS].contains(info.state)
  }

  /// Without a login, a token finds no private objects, and calls that a success.
  package func checkLogin() throws(CallFailure) {
    guard showsLogin, try !isLoggedIn() else { return }
    throw CallFailure(function: Self.lookingForLogin, returned: ReturnValue(CKR_USER_NOT_LOGGED_IN))
  }

  /// Of the caller that had it, and of the next one: the thread sanitizer does not see what the pool's lock orders.
  func givenBack() { handOver.store(true, ordering: .releasing) }
  func taken() -> Session {
    _ = handOver.load(ordering: .acquiring)
    return self
  }

  static let lookingForLogin = "C_GetSessionInfo"

  /// How long the simplest call takes: the median of some, as any can be interrupted.
  package func simplestCallNanoseconds() -> UInt64 {
    let times = (0..<7).map { _ in
      let start = Moment.now
      if (try? random(16)) == nil { _ = try? isLoggedIn() }
      return Moment.now - start
    }
    return times.sorted()[times.count / 2]
  }

  /// Runs one call or chain of calls; a failure marks the session as not to be used again, as an operation may
  /// still be active in it.
  func sound<R: ~Copyable>(_ body: () throws(CallFailure) -> R) throws(CallFailure) -> R {
    do { return try body() } catch {
      isSound = false
      throw error
    }
  }
}
