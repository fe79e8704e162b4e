import Foundation

/// Writes the control file of Fixtures/faulty-module, and reads its count of sessions.
struct Faults: Sendable {
  let path: String
  let mood: Mood

  enum Mood: String {
    /// Whatever can go wrong, with a deadline that only a call that hangs misses.
    case ordinary
    /// Calls are left behind again and again: they take longer than the deadline, and end.
    case late

    var deadline: Duration { self == .ordinary ? .seconds(2) : .milliseconds(20) }
    fileprivate var faults: [@Sendable () -> [String]] { self == .ordinary ? Faults.kinds : Faults.lateness }
  }

  /// Up to some times the deadline; the last one until the file changes.
  private static let lateness: [@Sendable () -> [String]] = [
    { ["on * percent 2 hang 50"] },
    { ["on C_WrapKey percent 5 hang \(Int.random(in: 15...80))"] },
    { ["on C_UnwrapKey percent 5 delay \(Int.random(in: 15...80))"] },
    { ["on C_CreateObject percent 5 hang 30"] },
    { ["on C_DestroyObject percent 5 hang 30"] },
    { ["on C_GetAttributeValue percent 5 delay 25"] },
    { ["on C_OpenSession percent 30 hang 30", "now drop-sessions"] },
    { ["on C_CloseSession percent 30 hang 60", "on C_WrapKey every 53 drop-sessions"] },
    { ["on C_Login hang 30", "now logout"] },
    { ["on C_Initialize hang 40", "on C_WrapKey at 10 fail CKR_DEVICE_ERROR"] },
    { ["on C_WrapKey percent 1 hang"] },
  ]

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

  /// The module is ended and started anew.
  func restart() throws { try write(["on C_WrapKey at 1 fail CKR_DEVICE_ERROR"]) }

  /// Nothing for half of the time, so that there are right answers too.
  func change() throws { try write(Bool.random() ? [] : mood.faults.randomElement()?() ?? []) }

  private func write(_ lines: [String]) throws {
    let base = try String(contentsOfFile: path + ".base", encoding: .utf8)
    try Data((base + lines.joined(separator: "\n") + "\n").utf8).write(to: URL(filePath: path), options: .atomic)
  }

  /// As the module counts them; -1 when it does not say.
  var openSessions: Int {
    (try? String(contentsOfFile: path + ".sessions", encoding: .utf8)).flatMap { Int($0.prefix { $0.isNumber }) } ?? -1
  }
}
