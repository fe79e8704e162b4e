internal import CLinux
internal import DurableFiles
internal import Glibc
internal import KMSCore
internal import SystemPackage

/// The first line that a program prints: a password manager's, a vault's, or a script's.
///
/// The program is started without a shell, as its words stand; its standard error is this process's, and its standard
/// input where that is a terminal. What it prints goes through a pipe into locked memory.
func commandSecret(
  _ command: String, _ environment: [String: String], _ what: String, isWhole: Bool
) throws -> SecretBytes {
  let words = command.split(separator: " ").map(String.init)
  func unavailable(_ problem: String) -> KMSError {
    KMSError(
      .secretUnavailable, "the \(what) is not there: the command \(words.first ?? "") \(problem)",
      advice: "Run it by hand: it must print the \(what) on its first line and exit with 0.")
  }
  guard let program = words.first else { throw unavailable("has no name") }
  return try FileFailure.mapping("read from", FilePath(program)) {
    let (output, input) = try uninheritedPipe()
    // Closed before it is waited for: a program that goes on printing gets SIGPIPE.
    var process: pid_t?
    var isOpen = true
    func end() -> CInt {
      if isOpen { try? output.close() }
      isOpen = false
      var status: CInt = 0
      if let process { while unsafe waitpid(process, &status, 0) < 0, errno == EINTR {} }  // `status` outlives the call
      return status
    }
    do {
      process = start(program, words, environment, output: input)
      try input.close()
      guard process != nil else { throw unavailable("cannot be started") }
      let secret = try secret(from: output, untilLineEnd: !isWhole)
      let status = end()
      process = nil
      // Ended by SIGPIPE after its first line, it did what it should.
      guard status == 0 || (status & 0x7F) == SIGPIPE else { throw unavailable("failed") }
      return secret
    } catch {
      _ = end()
      throw error
    }
  }
}

/// - Returns: nil when it cannot be started.
private func start(
  _ program: String, _ words: [String], _ environment: [String: String], output: FileDescriptor
) -> pid_t? {
  var actions = unsafe posix_spawn_file_actions_t()  // a local value, for the call only
  unsafe posix_spawn_file_actions_init(&actions)  // a local value, for the call only
  defer { unsafe posix_spawn_file_actions_destroy(&actions) }  // ours, freed once
  // What is piped into this process is data, and none of the program's.
  if isatty(STDIN_FILENO) == 0 {
    unsafe posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)  // for the call only
  }
  unsafe posix_spawn_file_actions_adddup2(&actions, output.rawValue, STDOUT_FILENO)  // a local value, for the call only
  unsafe linux_spawn_close_from(&actions, 3)  // as above; no key file, no token, no end of the pipe for it
  // This thread may have signals blocked that the program needs: SIGPIPE ends one that prints on.
  var attributes = posix_spawnattr_t()
  var none = sigset_t()
  unsafe sigemptyset(&none)  // a local value, for the call only
  unsafe posix_spawnattr_init(&attributes)  // a local value, for the call only
  defer { unsafe posix_spawnattr_destroy(&attributes) }  // ours, freed once
  unsafe posix_spawnattr_setsigmask(&attributes, &none)  // a local value, for the call only
  unsafe sigaddset(&none, SIGPIPE)  // a local value, for the call only
  unsafe posix_spawnattr_setsigdefault(&attributes, &none)  // a local value, for the call only
  unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))  // live pointers
  // Copies for the call, freed after it.
  var arguments = unsafe words.map { unsafe strdup($0) } + [nil]  // freed below
  var variables = unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") } + [nil]  // freed below
  defer {
    for i in unsafe arguments.indices { unsafe free(arguments[i]) }  // from strdup
    for i in unsafe variables.indices { unsafe free(variables[i]) }  // from strdup
  }
  var process = pid_t()
  // All of it is alive until the call returns.
  let failure = unsafe posix_spawnp(&process, program, &actions, &attributes, &arguments, &variables)  // see above
  return failure == 0 ? process : nil
}
