// Logs until it is killed, and prints the number of each event that was acknowledged: what a crash may not lose.
// Prints `-` for one that was refused, and tries the next a little later.
//   AccessLogWriter FOLDER [written|synced] [COUNT|steps] [CALLERS] [signed] [wraps] [keystore=PATH] [copy=COMMAND]
// With COUNT it stops there and prints the nanoseconds of an event instead, wall clock and CPU, and the memory. What
// making the events costs is left out. With `wraps`, each event is of a wrap in memory, and what wraps cost without a log
// is left out. With `steps` it does what each line of its input says (open, log, seal, close), and
// prints `ok`, `late` or `-`. With `signed`, checkpoints are signed by a key in memory, or by the one in a key store.
import AccessLog
import Glibc
import InMemoryProvider
import KMSCore
import OpenSSLProvider
import SystemPackage

let arguments = CommandLine.arguments
guard arguments.count > 1 else { exit(2) }
alarm(30)  // whatever becomes of its parent, it does not go on for ever
let durability = arguments.count > 2 ? AccessLogSettings.Durability(rawValue: arguments[2]) ?? .written : .written
let isSigned = arguments.contains("signed")
let keystore = arguments.first { $0.hasPrefix("keystore=") }.map { String($0.dropFirst(9)) }
let copy = arguments.first { $0.hasPrefix("copy=") }.map { String($0.dropFirst(5)) }
let passphrase = SecretSource(description: "test") { SecretBytes(copying: Array("a passphrase".utf8).span) }
let provider: any KMSProvider =
  if let keystore {
    OpenSSLProvider(OpenSSLConfiguration(name: "local", keystore: keystore, passphrase: passphrase))
  } else {
    InMemoryProvider(name: "memory")
  }
let signer = LogSigner(provider, key: try KeyName("access-log"))
if isSigned { _ = try await signer.verifierKey(creating: keystore == nil) }
func open() throws -> AccessLogFile {
  var settings = AccessLogSettings(directory: FilePath(arguments[1]), durability: durability)
  settings.copies = copy.map { [.command($0)] } ?? []
  return try AccessLogFile(settings, signer: isSigned ? signer : nil)
}
let key = try KeyName("customer-pii")
let version = KeyVersionID.make()
let dek = SecretBytes.random(count: 32)

@Sendable func event(_ number: Int) -> AccessEvent {
  AccessEvent(
    .unwrap, key: key, version: version, provider: "hsm",
    access: Access(principal: "billing-service", contextNames: ["table", "column"], requestID: "\(number)"),
    duration: .nanoseconds(number))
}

// Functions, as what belongs to a main is never freed (AddressSanitizer tells of it).
func measure(_ count: Int) async throws {
  let log = try open()
  let callers = arguments.count > 4 ? Int(arguments[4]) ?? 1 : 1
  // What the caller has anyway.
  let bare: (wall: Duration, cpu: Int)
  let logged: (wall: Duration, cpu: Int)
  if arguments.contains("wraps") {
    let keys = InMemoryProvider(name: "memory")
    let version = try await keys.createKeyVersion(NewKeyVersion(key: key))
    let provider = AccessLoggedProvider(keys, reporter: log, key: key)
    bare = await time(callers, count) { _ in _ = try await keys.wrap(dek, under: version.id, aad: []) }
    logged = await time(callers, count) { _ in _ = try await provider.wrap(dek, under: version.id, aad: []) }
  } else {
    bare = await time(callers, count) { number in precondition(event(number).access.contextNames.count == 2) }
    logged = await time(callers, count) { try await log.report(event($0)) }
  }
  var usage = rusage()
  unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)  // `usage` outlives the call
  print(
    "wall \((logged.wall - bare.wall) / count), cpu \((logged.cpu - bare.cpu) / count) ns per event, \(callers) callers, "
      + "at most \(usage.ru_maxrss / 1024) MiB of memory")
  await log.close()
}

func time(
  _ callers: Int, _ count: Int, _ body: @escaping @Sendable (Int) async throws -> Void
) async -> (wall: Duration, cpu: Int) {
  let start = (ContinuousClock.now, clock())
  await withTaskGroup(of: Void.self) { group in
    for caller in 0..<callers {
      group.addTask { for i in 0..<count / callers { try! await body(caller * count + i) } }
    }
  }
  return (ContinuousClock.now - start.0, (clock() - start.1) * 1_000_000_000 / Int(CLOCKS_PER_SEC))
}

func takeSteps() async {
  var log: AccessLogFile?
  var number = 0
  while let step = readLine() {
    number += 1
    let (start, number, opened) = (ContinuousClock.now, number, log)
    let isDone: Bool
    switch step {
    case "open":
      log = try? open()
      isDone = log != nil
    case "log": isDone = (try? await opened?.report(event(number))) != nil
    case "seal":
      await opened?.seal()
      isDone = true
    default:
      await opened?.close()
      isDone = true
    }
    // A deadline is 2 s, and what it is about stands for ever: load makes no difference between the two.
    let text = "\(step) \(isDone ? "ok" : "-") \(ContinuousClock.now - start > .seconds(1) ? "late" : "soon")\n"
    _ = unsafe write(1, text, text.utf8.count)  // a Swift string, for the call only
  }
}

func logForever() async throws {
  let log = try open()
  var number = 0
  while true {
    number += 1
    let text: String
    do {
      try await log.report(event(number))
      text = "\(number)\n"
    } catch {
      text = "-\n"
      usleep(1000)
    }
    // Whoever is to kill it may come late, as processors are shared; then there is no need of a log of millions.
    if number > 5000 { usleep(1000) }
    _ = unsafe write(1, text, text.utf8.count)  // a Swift string, for the call only
  }
}

if arguments.count > 3, arguments[3] == "steps" {
  await takeSteps()
} else if arguments.count > 3, let count = Int(arguments[3]) {
  try await measure(count)
} else {
  try await logForever()
}
