internal import CLinux
internal import DurableFiles
internal import Glibc
package import KMSCore
internal import Synchronization
package import SystemPackage

extension SecretSource {
  /// Sources that a configuration can name: `file:PATH`, `env:VARIABLE`, `credential:NAME` (systemd's
  /// LoadCredential), `command:PROGRAM ARGUMENTS` (what it prints), `prompt:` or `prompt:TEXT`.
  ///
  /// - Parameters:
  ///   - what: what is looked for, in errors and on the terminal.
  ///   - isWhole: a file's bytes as they are, instead of its first line.
  /// - Throws: ``KMSError/Code/configurationInvalid`` for anything else, above all for a secret itself.
  package init(
    parsing text: String, folder: FilePath, environment: [String: String], what: String = "PIN or passphrase",
    isWhole: Bool = false
  ) throws {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    // The text is not repeated in the error: it could be a secret.
    guard parts.count == 2, ["file", "env", "credential", "command", "prompt"].contains(parts[0]) else {
      throw KMSError(
        .configurationInvalid, "a secret's source is not understood",
        advice:
          "Allowed are file:PATH, env:VARIABLE, credential:NAME, command:PROGRAM and prompt:; never the secret itself.")
    }
    let rest = parts[1]
    self.init(description: text, asksAPerson: parts[0] == "prompt") {
      switch parts[0] {
      case "file":
        return try fileSecret(folder.pushing(FilePath(Self.path(inFileSource: rest))), what, isWhole: isWhole)
      case "env": return try environmentSecret(rest, environment, what)
      case "credential": return try credentialSecret(rest, environment, what, isWhole: isWhole)
      case "command": return try commandSecret(rest, environment, what, isWhole: isWhole)
      default: return try promptedSecret(rest.isEmpty ? what : rest)
      }
    }
  }
}

extension SecretSource {
  /// A file: URI may have its empty authority: file:///run/secrets/pin
  static func path(inFileSource text: some StringProtocol) -> String {
    text.hasPrefix("//") ? String(text.dropFirst(2)) : String(text)
  }
}

private func fileSecret(_ path: FilePath, _ what: String, isWhole: Bool) throws -> SecretBytes {
  do {
    return try FileFailure.mapping("read", path) {
      let descriptor = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
      defer { try? descriptor.close() }
      return try secret(from: descriptor, untilLineEnd: !isWhole)
    }
  } catch let error as KMSError {
    throw KMSError(
      .secretUnavailable, "the \(what) is not there: \(error.message)",
      advice: "Put it into that file (chmod 600), or name another source.")
  }
}

/// Up to 1,024 bytes, read into locked memory and nowhere else.
func secret(from descriptor: FileDescriptor, untilLineEnd: Bool = true) throws -> SecretBytes {
  try SecretBytes(capacity: 1024) { output throws(any Error) in
    try unsafe output.withUnsafeMutableBufferPointer { buffer, count throws(any Error) in  // within its capacity
      while count < buffer.count {
        let next = unsafe UnsafeMutableRawBufferPointer(  // within the buffer
          rebasing: UnsafeMutableRawBufferPointer(buffer)[count...])
        // Byte by byte: a terminal or pipe may have more, which is somebody else's.
        let got = try unsafe descriptor.read(into: UnsafeMutableRawBufferPointer(rebasing: next[..<1]))  // for the call
        if unsafe got == 0 || (untilLineEnd && next[0] == 0x0A) { break }  // one byte was read
        count += 1
      }
      if untilLineEnd, count > 0, unsafe buffer[count - 1] == 0x0D { count -= 1 }  // not empty
    }
  }
}

private func environmentSecret(_ name: String, _ environment: [String: String], _ what: String) throws -> SecretBytes {
  guard let value = environment[name] else {
    throw KMSError(
      .secretUnavailable, "the environment variable \(name) is not set",
      advice: "Set it to the \(what), or name another source.")
  }
  return SecretBytes(copying: Array(value.utf8).span)
}

private func credentialSecret(
  _ name: String, _ environment: [String: String], _ what: String, isWhole: Bool
) throws -> SecretBytes {
  guard let folder = environment["CREDENTIALS_DIRECTORY"] else {
    throw KMSError(
      .secretUnavailable, "there are no systemd credentials here (CREDENTIALS_DIRECTORY is not set)",
      advice: "Run it from a unit with LoadCredential=\(name):…, or name another source.")
  }
  return try fileSecret(FilePath(folder).appending(name), what, isWhole: isWhole)
}

/// There is one terminal, and one person at it.
private let prompting = Mutex(())

/// Asks on the terminal itself, so that it works while standard input and output are in use. No echo.
private func promptedSecret(_ text: String) throws -> SecretBytes {
  guard let terminal = try? FileDescriptor.open(FilePath("/dev/tty"), .readWrite, options: .closeOnExec) else {
    throw KMSError(
      .secretUnavailable, "there is no terminal to ask on", advice: "Name a file, variable or credential instead.")
  }
  defer { try? terminal.close() }
  return try prompting.withLock { _ in
    guard linux_silence_terminal(terminal.rawValue) == 0 else {
      throw KMSError(
        .secretUnavailable, "the terminal's echo cannot be switched off", advice: "Name a file or variable instead.")
    }
    defer {
      linux_unsilence_terminal()
      _ = try? terminal.writeAll("\n".utf8)
    }
    try FileFailure.mapping("ask on", "/dev/tty") { _ = try terminal.writeAll("\(text): ".utf8) }
    return try FileFailure.mapping("read", "/dev/tty") { try secret(from: terminal) }
  }
}
