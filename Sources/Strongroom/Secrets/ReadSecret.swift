internal import DurableFiles
internal import Glibc
internal import KMSCore
internal import SystemPackage

extension SecretSource {
  /// Sources that a configuration can name: `file:PATH`, `env:VARIABLE`, `credential:NAME` (systemd's
  /// LoadCredential), `prompt:` or `prompt:TEXT`.
  ///
  /// - Throws: ``KMSError/Code/configurationInvalid`` for anything else, above all for a secret itself.
  init(parsing text: String, folder: FilePath, environment: [String: String]) throws {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    // The text is not repeated in the error: it could be a secret.
    guard parts.count == 2, ["file", "env", "credential", "prompt"].contains(parts[0]) else {
      throw KMSError(
        .configurationInvalid, "a secret's source is not understood",
        advice: "Allowed are file:PATH, env:VARIABLE, credential:NAME and prompt:; never the secret itself.")
    }
    let rest = parts[1]
    self.init(description: text) {
      switch parts[0] {
      case "file":
        // A file: URI may have its empty authority: file:///run/secrets/pin
        let path = rest.hasPrefix("//") ? String(rest.dropFirst(2)) : rest
        return try fileSecret(folder.pushing(FilePath(path)))
      case "env": return try environmentSecret(rest, environment)
      case "credential": return try credentialSecret(rest, environment)
      default: return try promptedSecret(rest.isEmpty ? "PIN or passphrase" : rest)
      }
    }
  }
}

private func fileSecret(_ path: FilePath) throws -> SecretBytes {
  do {
    var bytes = try readFile(path, limit: 4096)
    defer { wipe(&bytes) }
    while let last = bytes.last, last == 0x0A || last == 0x0D { bytes.removeLast() }
    return SecretBytes(copying: bytes.span)
  } catch let error as KMSError {
    throw KMSError(
      .secretUnavailable, "the PIN or passphrase is not there: \(error.message)",
      advice: "Put it into that file (one line, chmod 600), or name another source; 'strongroom init' makes one.")
  }
}

private func environmentSecret(_ name: String, _ environment: [String: String]) throws -> SecretBytes {
  guard let value = environment[name] else {
    throw KMSError(
      .secretUnavailable, "the environment variable \(name) is not set",
      advice: "Set it to the PIN or passphrase, or name another source.")
  }
  return SecretBytes(copying: Array(value.utf8).span)
}

private func credentialSecret(_ name: String, _ environment: [String: String]) throws -> SecretBytes {
  guard let folder = environment["CREDENTIALS_DIRECTORY"] else {
    throw KMSError(
      .secretUnavailable, "there are no systemd credentials here (CREDENTIALS_DIRECTORY is not set)",
      advice: "Run it from a unit with LoadCredential=\(name):…, or name another source.")
  }
  return try fileSecret(FilePath(folder).appending(name))
}

/// Asks on the terminal itself, so that it works while standard input and output are in use. No echo.
private func promptedSecret(_ text: String) throws -> SecretBytes {
  guard let terminal = try? FileDescriptor.open(FilePath("/dev/tty"), .readWrite, options: .closeOnExec) else {
    throw KMSError(
      .secretUnavailable, "there is no terminal to ask on", advice: "Name a file, variable or credential instead.")
  }
  defer { try? terminal.close() }
  var before = termios()
  unsafe tcgetattr(terminal.rawValue, &before)  // `before` outlives the call
  var silent = before
  silent.c_lflag &= ~tcflag_t(ECHO)
  unsafe tcsetattr(terminal.rawValue, TCSAFLUSH, &silent)  // as above
  defer {
    unsafe tcsetattr(terminal.rawValue, TCSAFLUSH, &before)  // as above
    _ = try? terminal.writeAll("\n".utf8)
  }
  try FileFailure.mapping("ask on", "/dev/tty") { _ = try terminal.writeAll("\(text): ".utf8) }
  var failed = false
  let secret = SecretBytes(capacity: 1024) { output in
    var byte = [UInt8](repeating: 0, count: 1)
    while output.count < 1024 {
      let got = try? unsafe byte.withUnsafeMutableBytes { unsafe try terminal.read(into: $0) }  // for the call
      guard got == 1 else {
        failed = got == nil
        break
      }
      if byte[0] == 0x0A { break }
      output.append(byte[0])
    }
  }
  guard !failed else {
    throw KMSError(.secretUnavailable, "the terminal could not be read", advice: "Name another source.")
  }
  return secret
}

private func wipe(_ bytes: inout [UInt8]) {
  for i in bytes.indices { bytes[i] = 0 }
}
