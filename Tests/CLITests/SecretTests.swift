import Foundation
import TestSupport
import Testing

/// Where secrets are asked for, and what else is going on there.
struct SecretTests {
  @Test("a program that prints the passphrase gets nothing of what is piped in")
  func standardInput() async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let outcome = try await workspace.run(
      """
      set -e
      strongroom init >/dev/null
      printf 'cat >read\\nls /proc/self/fd | wc -l >descriptors\\ncat passphrase\\n' >ask
      sed -i 's|file:passphrase|command:sh ask|' strongroom.yaml
      head -c 300000 /dev/urandom >plain
      cat plain | strongroom encrypt - -o sealed 7<strongroom.yaml
      strongroom decrypt sealed -o opened; cmp plain opened
      wc -c <read; cat descriptors
      """)
    // Its three and the folder that `ls` reads.
    #expect(outcome.output == "0\n4\n" && outcome.exitCode == 0, "\(outcome)")
  }

  /// Asks on a terminal, types the keys, and says what became of the process and of the echo.
  private static let terminal = """
    import os, pty, select, signal, sys, termios, time
    child, terminal = pty.fork()
    if child == 0: os.execvp("strongroom", ["strongroom", "key", "list"])
    said, echo = b"", None
    def look(): return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
    end = time.time() + 30
    while b"Passphrase: " not in said and time.time() < end:
        if select.select([terminal], [], [], 1)[0]: said += os.read(terminal, 1000)
    # Echo is off by the time that it asks.
    print("echo while asked:", look())
    os.write(terminal, {"interrupt": b"\\x03", "answer": open("passphrase", "rb").read().strip() + b"\\n"}[sys.argv[1]])
    seen = b""
    while True:
        try: part = os.read(terminal, 1000)
        except OSError: break
        if not part: break
        seen += part
        echo = look()
    status = os.waitpid(child, 0)[1]
    print("echo after:", look(), "ended by:", os.WTERMSIG(status), "exit:", os.WEXITSTATUS(status))
    print("typed is seen:", open("passphrase", "rb").read().strip() in seen)
    """

  @Test("the terminal's echo is on again, however a prompt ends", arguments: [("interrupt", 2), ("answer", 0)])
  func prompt(keys: String, signal: Int) async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    try Self.terminal.write(to: workspace.folder.appending(path: "ask.py"), atomically: true, encoding: .utf8)
    let outcome = try await workspace.run(
      """
      set -e
      strongroom init >/dev/null; strongroom key list >/dev/null
      sed -i 's|file:passphrase|prompt:Passphrase|' strongroom.yaml
      python3 ask.py \(keys)
      """)
    #expect(
      outcome.output == """
        echo while asked: False
        echo after: True ended by: \(signal) exit: 0
        typed is seen: False

        """, "\(outcome)")
  }
}
