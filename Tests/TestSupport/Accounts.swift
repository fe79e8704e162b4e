import Foundation

/// Whether the tests may give files away, and act as somebody else.
public let isRoot = geteuid() == 0

/// Runs `body` with the rights to files of the account that a folder belongs to, which is not root's.
///
/// - Parameter mode: what that account, and everybody else, may do with the folder meanwhile.
public func asOwner<Value: Sendable>(
  of folder: String, mode: UInt32, _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
  let account: uid_t = 12_345
  if isRoot, unsafe chown(folder, account, account) != 0 { throw POSIXError(.EPERM) }  // a string, for the call only
  unsafe _ = chmod(folder, mode)  // as above
  defer { unsafe _ = chmod(folder, 0o700) }  // as above
  return try await onThread {
    // Of this thread alone; root's rights to files go and come with it.
    if isRoot { setFileUser(account) }
    defer { if isRoot { setFileUser(0) } }
    return try body()
  }
}

/// setfsuid(2), which Swift's Glibc module does not export.
private func setFileUser(_ user: uid_t) {
  typealias Call = @convention(c) (uid_t) -> CInt
  guard let call = unsafe dlsym(nil, "setfsuid") else { return }  // a string, for the call only
  _ = unsafe unsafeBitCast(call, to: Call.self)(user)  // what <sys/fsuid.h> declares
}
