import Foundation
import Testing

/// The runbooks of docs/operations.md work as they stand there, on SoftHSM tokens.
@Suite(.timeLimit(.minutes(10)))
struct RunbookTests {
  @Test("the five runbooks are there, each with a way back and what the log shows")
  func complete() throws {
    let runbooks = try Runbook.all()
    #expect(
      runbooks.map(\.title) == [
        "Runbook: planned rotation", "Runbook: a leaked KEK", "Runbook: a lost HSM",
        "Runbook: replacing an HSM vendor", "Runbook: decommissioning",
      ])
    let text = try String(contentsOf: Runbook.file, encoding: .utf8)
    for (runbook, section) in zip(runbooks, text.components(separatedBy: "\n## Runbook: ").dropFirst()) {
      for part in ["**When**", "**Who**", "**Needs**", "**Stops**", "**To go back**", "The log shows"] {
        #expect(section.contains(part), "\(runbook.title) lacks \(part)")
      }
      #expect(runbook.log.count > 3 && runbook.steps.count > 8, "\(runbook.title)")
    }
  }

  @Test("a runbook does what it says", arguments: try Runbook.all())
  func execute(_ runbook: Runbook) async throws {
    if Workspace.module == nil { try Test.cancel("SoftHSM is not installed") }
    let workspace = try Workspace()
    defer { workspace.remove() }
    let first = try #require(Runbook.sections().first { $0.title == "Before the first emergency" })
    guard case .commands(let places, _)? = first.steps.first, case .commands(let setUp, _)? = first.steps.last else {
      Issue.record("the first section has no places.sh")
      return
    }
    let script = """
      \(Self.preparations)
      cat >/etc/strongroom/places.sh <<'END-OF-PLACES'
      \(places)
      END-OF-PLACES
      \(Self.data)
      \(setUp)
      (
      \(runbook.script)
      at=end
      )
      strongroom log show --changes >"$HOME/log.txt"
      """
    let outcome = try await workspace.run(Self.inFolder(script, workspace.folder.path))
    #expect(
      outcome.exitCode == 0 && outcome.errors.isEmpty,
      "\(outcome.errors)\n\(outcome.output.suffix(3000))")
    for secret in workspace.secrets {
      #expect(!outcome.output.contains(secret) && !outcome.errors.contains(secret), "a secret was printed")
    }
    guard outcome.exitCode == 0 else { return }
    let log = try String(contentsOf: workspace.home.appending(path: "log.txt"), encoding: .utf8)
    var rest = log.lines[...]
    for expected in runbook.log {
      let words = expected.split(separator: " ").map { $0.replacing("…", with: "*") }
      let pattern = "*Z  " + words.joined(separator: "*") + "*"
      let found = rest.firstIndex { $0.matches(pattern) }
      #expect(found != nil, "the log has no '\(expected)' there:\n\(log)")
      if let found { rest = rest[(found + 1)...] }
    }
  }

  /// The document's paths, in a folder of the test.
  private static func inFolder(_ script: String, _ folder: String) -> String {
    var script = script.replacing("/opt/vendor/libpkcs11.so", with: Workspace.module ?? "")
    for path in ["/etc/strongroom", "/srv/", "/media/", "/dev/shm/rescue", "/run/secrets"] {
      script = script.replacing(path, with: folder + path)
    }
    return script
  }

  /// The token, its PIN and the configuration; and what the hidden parts call.
  private static let preparations = """
    set -Eeuo pipefail
    at=beginning
    trap 'echo "$at: $BASH_COMMAND (exit code $?)" >&2' ERR
    export TOKENS=$HOME/tokens PLAIN=$HOME/plain BLOCK=$HOME/block
    mkdir -p "$PLAIN" /etc/strongroom /srv/letters /media/keeper-{1,2,3} /dev/shm/rescue /run/secrets
    rmdir /dev/shm/rescue
    (umask 077; echo "$PIN" >/run/secrets/pin)

    new_token() {
      softhsm2-util --init-token --free --label "$1" --so-pin 12345678 --pin "$PIN" >/dev/null
    }
    not() { if "$@"; then return 1; fi; }
    fails() {  # EXIT-CODE COMMAND …
      local status=0
      "${@:2}" >"$HOME/failed" 2>&1 || status=$?
      [ "$status" = "$1" ] || { echo "exit code $status, not $1: ${*:2}" >&2; cat "$HOME/failed" >&2; return 1; }
    }
    readable() {
      local n
      for n in 1 2; do
        strongroom decrypt /srv/letters/letter-$n.sealed -o - --context app=letters | cmp - "$PLAIN/letter-$n"
      done
      sqlite3 -header -csv /srv/shop.db 'SELECT * FROM people' | tr -d '\\r' >"$HOME/people.csv"
      strongroom decrypt "$HOME/people.csv" -o - --context app=shop --column email --column card_number --row-key id |
        cmp - "$PLAIN/people.csv"
    }
    save() { rm -rf "$HOME/saved"; mkdir "$HOME/saved"; cp -a "$HOME/work" "$HOME/tokens" "$HOME/saved"; }
    restore() { rm -rf "$HOME/work" "$HOME/tokens"; mv "$HOME"/saved/* "$HOME"; cd "$PWD"; }

    new_token prod
    cat >/etc/strongroom/strongroom.yaml <<'END'
    provider: hsm
    providers:
      hsm:
        type: pkcs11
        uri: "pkcs11:token=prod?module-path=/opt/vendor/libpkcs11.so"
        pin-source: "file:/run/secrets/pin"
    data-at-rest:
      kms-key-id: customer-pii
    access-log: { path: log }
    END
    """

  /// Letters, a table, and a recovery key whose shares are with their keepers.
  private static let data = """
    . /etc/strongroom/places.sh
    strongroom key create customer-pii
    strongroom recovery create offline-2026 --shares 5 --threshold 3 --out /media/safe
    for keeper in 1=001 2=003 3=004; do
      mv /media/safe/offline-2026.${keeper#*=} /media/keeper-${keeper%=*}
      cp /media/safe/offline-2026.txt /media/keeper-${keeper%=*}
    done
    sed -i '/^data-at-rest:/a\\  recovery-recipients: [offline-2026]' /etc/strongroom/strongroom.yaml
    for n in 1 2; do
      echo "$SECRET $n" >"$PLAIN/letter-$n"
      strongroom encrypt "$PLAIN/letter-$n" -o /srv/letters/letter-$n.sealed --context app=letters
    done
    printf '%s\\n' id,name,email,card_number 1,Ada,ada@example.com,4111111111111111 2,Ben,ben@example.com,42 \\
      3,Cleo,cleo@example.com,5500000000000004 >"$PLAIN/people.csv"
    strongroom encrypt "$PLAIN/people.csv" -o "$HOME/sealed.csv" --context app=shop --column email \\
      --column card_number --row-key id
    sqlite3 /srv/shop.db '.import --csv '"$HOME/sealed.csv"' people'
    """
}
