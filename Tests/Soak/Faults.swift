import Foundation

/// Writes the control file of Fixtures/faulty-module, and reads its count of sessions.
struct Faults: Sendable {
  let path: String

  /// What never loses an answer that was right: `wrong-key` and `corrupt` are for those who can see it.
  private static let kinds: [@Sendable () -> [String]] = [
    { ["on * percent 0.5 fail CKR_DEVICE_ERROR"] },
    { ["on C_WrapKey percent 5 fail CKR_GENERAL_ERROR", "on C_UnwrapKey percent 5 fail CKR_FUNCTION_FAILED"] },
    { ["on C_CreateObject percent 3 fail CKR_SESSION_HANDLE_INVALID"] },
    { ["on C_GetAttributeValue percent 3 fail CKR_OBJECT_HANDLE_INVALID"] },
    { ["on C_DestroyObject percent 5 fail CKR_DEVICE_MEMORY"] },
    { ["now drop-sessions"] },
    { ["on C_WrapKey every 97 drop-sessions"] },
    { ["now reset"] },
    { ["now logout"] },
    { ["on C_UnwrapKey percent 1 logout"] },
    { ["absent"] },
    { ["slots 7", "now drop-sessions"] },
    { ["on C_WrapKey percent 2 hang 3000"] },
    { ["on C_UnwrapKey at 3 hang"] },
    { ["on * percent 2 delay 20"] },
    { ["session-limit 3"] },
    { ["on C_Login percent 50 fail CKR_DEVICE_ERROR", "now drop-sessions"] },
    { ["on C_OpenSession percent 50 fail CKR_SESSION_COUNT", "now drop-sessions"] },
    { ["missing C_CopyObject"] },
  ]

  func none() throws { try write([]) }

  /// Nothing for half of the time, so that there are right answers too.
  func change() throws { try write(Bool.random() ? [] : Self.kinds.randomElement()?() ?? []) }

  private func write(_ lines: [String]) throws {
    let base = try String(contentsOfFile: path + ".base", encoding: .utf8)
    try Data((base + lines.joined(separator: "\n") + "\n").utf8).write(to: URL(filePath: path), options: .atomic)
  }

  /// As the module counts them; -1 when it does not say.
  var openSessions: Int {
    (try? String(contentsOfFile: path + ".sessions", encoding: .utf8)).flatMap { Int($0.prefix { $0.isNumber }) } ?? -1
  }
}
