import Foundation
import TestSupport
import Testing

/// What comes out, and what does not: who reads it may be gone, and what is printed may be somebody else's text.
struct OutputTests {
  private func run(_ script: String) async throws -> Outcome {
    let workspace = try Workspace()
    defer { workspace.remove() }
    return try await workspace.run("set -e; strongroom init >/dev/null; echo x >plain\n" + script)
  }

  @Test("a table that is replaced keeps its access control list, which its group's permissions are the mask of")
  func accessControlList() async throws {
    let outcome = try await run(
      """
      printf 'id,name\\n1,x\\n' >plain.csv; strongroom encrypt plain.csv -o t.csv --column name
      cat >acl.py <<'END'
      import os, struct, sys
      # user::rw-, user:12345:rw-, group::---, mask::rw-, other::--- (acl(5))
      acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in
          [(1, 6, 0xFFFFFFFF), (2, 6, 12345), (4, 0, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)])
      name = "system.posix_acl_access"
      if sys.argv[1] == "set": os.setxattr("t.csv", name, acl)
      else: print(os.getxattr("t.csv", name) == acl, oct(os.stat("t.csv").st_mode & 0o777))
      END
      python3 acl.py set 2>/dev/null || { echo none; exit 0; }
      strongroom key rotate default --reason test >/dev/null
      before=$(stat -c %i t.csv); strongroom rewrap t.csv --column name >/dev/null; [ $before != $(stat -c %i t.csv) ]
      python3 acl.py show
      """)
    // None: a file system without them.
    #expect(["True 0o660\n", "none\n"].contains(outcome.output) && outcome.exitCode == 0, "\(outcome)")
  }

  @Test("a reader that is gone ends no work, and hides no failure")
  func closedPipe() async throws {
    let outcome = try await run(
      """
      gone() { { sleep 0.3; "$@"; echo $? >status; } 2>&1 | true; while [ ! -s status ]; do sleep 0.1; done; cat status; rm status; }
      set +e
      gone strongroom decrypt nosuch -o x
      strongroom encrypt plain -o sealed
      strongroom key rotate default --reason a
      gone strongroom rewrap sealed
      strongroom rewrap sealed --json | grep -c '"current_already": 1'
      gone strongroom key list
      gone strongroom log show
      """)
    #expect(outcome.output.lines.filter { $0.count < 3 } == ["6", "0", "1", "0", "0"], "\(outcome)")
  }

  @Test("a full disk under standard output is told")
  func fullOutput() async throws {
    let outcome = try await run(
      "set +e; strongroom key list >/dev/full; echo $?; strongroom log show >/dev/full; echo $?")
    #expect(outcome.output == "1\n1\n", "\(outcome)")
    #expect(outcome.errors.components(separatedBy: "Standard output took not all").count == 3, "\(outcome)")
  }

  @Test("all there ever was")
  func longAgo() async throws {
    let outcome = try await run("strongroom log show | wc -l; strongroom log show --since 200000d | wc -l")
    let counts = outcome.output.lines.map { $0.trimmingCharacters(in: .whitespaces) }
    #expect(counts.count == 2 && counts[0] == counts[1] && counts[0] != "0", "\(outcome)")
  }

  @Test("a text in the log begins no line and moves no cursor")
  func forgedLine() async throws {
    let outcome = try await run(
      """
      strongroom key rotate default --principal $'a\\u202eb' --reason $'x]\\n2026-12-01T15:00:00.000Z  ok  \\e[2Kdecrypt' >/dev/null
      strongroom log show --changes
      """)
    #expect(!outcome.output.contains("\u{1B}") && !outcome.output.contains("\u{202E}"), "\(outcome)")
    #expect(outcome.output.contains(#"x]\n2026-12-01T15:00:00.000Z"#), "\(outcome)")
    #expect(!outcome.output.lines.contains { $0.hasPrefix("2026-12-01T15:00:00.000Z  ok  ") }, "\(outcome)")
  }

  @Test("numbers in the log that are none of its own end no command", arguments: ["1e300", "-1e300"])
  func absurdNumbers(_ number: String) async throws {
    let outcome = try await run(
      """
      strongroom encrypt plain -o sealed
      chmod u+w log/*.jsonl; sed -i 's/"duration_us":[0-9.]*/"duration_us":\(number)/' log/*.jsonl
      strongroom log show | grep -m 1 -o -- '-*1000000000000000 µs'
      strongroom report >/dev/null; strongroom report --json | python3 -c 'import json,sys; json.load(sys.stdin)'
      strongroom report --html page.html; strongroom log export --format ocsf >/dev/null
      """)
    let clamped = (number.hasPrefix("-") ? "-" : "") + "1000000000000000 µs\n"
    #expect(outcome.exitCode == 0 && outcome.output == clamped, "\(outcome)")
  }

  @Test("a report's period has an end")
  func reportUntil() async throws {
    let outcome = try await run(
      """
      strongroom encrypt plain -o sealed
      count() { strongroom report --json "$@" | python3 -c 'import json,sys; print(json.load(sys.stdin)["operations"])'; }
      [ "$(count --since 1h)" -gt 0 ] && echo some
      count --since 7d --until 1d
      strongroom report --since 1d --until 2d || echo $?
      """)
    #expect(outcome.output == "some\n0\n2\n", "\(outcome)")
  }

  @Test("doctor's uses of the key are the unix user's")
  func doctor() async throws {
    let outcome = try await run(
      "strongroom doctor >/dev/null; strongroom log show --json | grep -v '\"accessed_by\":\"'$(id -un)'\"' | wc -l")
    #expect(outcome.output == "0\n", "\(outcome)")
  }

  @Test("a token's label may have any letters", .enabled(if: Workspace.module != nil, "SoftHSM is not installed"))
  func tokenLabel() async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let outcome = try await workspace.run(
      """
      label='Schlüssel ²/½'
      softhsm2-util --init-token --free --label "$label" --so-pin 12345678 --pin "$PIN" >/dev/null
      printf '%s\n' "$PIN" >pin; chmod 600 pin
      strongroom init --module "$MODULE" --token "$label" --pin-source file:pin >/dev/null && strongroom key list --json | grep -c '"version"'
      """)
    #expect(outcome.output == "1\n", "\(outcome)")
  }

  @Test("a drill leaves a signed log sound, and is logged beside it")
  func drillBesideASignedLog() async throws {
    let workspace = try Workspace()
    defer { workspace.remove() }
    let outcome = try await workspace.run(
      """
      set -e
      strongroom init >/dev/null; sed -i 's/access-log: {/access-log: { signing-key: access-log,/' strongroom.yaml
      rm -rf log; strongroom log key --create >log.pub
      strongroom recovery create offline --shares 2 --threshold 2 --out shares >/dev/null
      sed -i 's/data-at-rest:/data-at-rest:\\n  recovery-recipients: [offline]/' strongroom.yaml
      echo "$SECRET" >plain; strongroom encrypt plain -o sealed
      strongroom recovery drill sealed --share shares/offline.001 --share shares/offline.002 >/dev/null
      strongroom log verify log --public-key log.pub | tail -1
      STRONGROOM_ACCESS_LOG_PATH=log/unsigned strongroom log show --json | grep -c recovery-drill
      """)
    #expect(outcome.output == "sound: the log is as it was written\n2\n", "\(outcome)")
    #expect(outcome.errors.contains("logged unsigned, in "), "\(outcome)")
  }
}
