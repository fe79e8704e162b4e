import InMemoryProvider
import KMSTesting
import Strongroom
import SystemPackage
import TestSupport
import Testing

/// Rotation of all that is due, and what happens when a step fails.
struct RotateDueTests {
  private let day = Duration.seconds(86_400)

  /// A manager over memory that can be told to fail; with `folder`, on a real log there.
  private struct Bench {
    let provider = FaultInjectingProvider(InMemoryProvider(name: "memory"))
    let reporter = RecordingReporter()
    let manager: DataAtRestManager

    init(logIn folder: TemporaryFolder? = nil, isDirect: Bool = false) throws {
      let log = folder.map { FilePath($0.path + "/log") }
      manager = try DataAtRestManager(
        providers: [provider], configuration: DataAtRestConfig(kmsKeyID: "k", envelopeEncryptionEnabled: !isDirect),
        reporter: try log.map { try AccessLogFile(AccessLogSettings(directory: $0)) } ?? reporter, logFolder: log)
    }
  }

  @Test("what is due is rotated, what is not stays, with a record each")
  func due() async throws {
    let bench = try Bench()
    let (k, other) = (try KeyName("k"), try KeyName("other"))
    let first = try await bench.manager.createKey(k)
    try await bench.manager.createKey(other, purpose: .encrypt)
    let young = try await bench.manager.rotateDue()
    #expect(young.map(\.plan.standing) == [.notDue, .notDue])
    #expect(bench.reporter.events.allSatisfy { $0.operation != .rotate })

    let later = Timestamp.now().advanced(by: day)
    let dry = try await bench.manager.rotateDue(dryRun: true, now: later)
    #expect(dry.map(\.plan.standing) == [.due, .due])
    #expect(bench.reporter.events.allSatisfy { $0.operation != .rotate })

    let results = try await bench.manager.rotateDue(reason: "Q4", now: later, principal: "timer")
    #expect(results.map(\.plan.key) == [k, other])
    #expect(results.allSatisfy { $0.error == nil && $0.version != nil })
    let versions = try await bench.manager.keyVersions(of: k)
    #expect(versions.map(\.state) == [.deactivated, .active])
    #expect(versions.first?.id == first.id && versions.last?.id == results.first?.version?.id)
    let rotations = bench.reporter.events.filter { $0.operation == .rotate }
    #expect(rotations.map(\.phase) == [.intent, .outcome, .intent, .outcome])
    #expect(rotations.allSatisfy { $0.reason == "Q4" && $0.success && $0.access.principal == "timer" })
    await bench.manager.close()
  }

  @Test("a key whose ids are of the future is rotated once in an interval all the same", arguments: [true, false])
  func ahead(isLogged: Bool) async throws {
    let folder = TemporaryFolder()
    let bench = try Bench(logIn: isLogged ? folder : nil)
    let k = try KeyName("k")
    let ahead = try await bench.provider.createKeyVersion(
      NewKeyVersion(key: k, id: .make(now: .now().advanced(by: day * 3000))))
    #expect(try await bench.manager.isRotationDue(k))
    let first = try await bench.manager.rotateDue()
    let new = try #require(first.first?.version)
    #expect(ahead.id < new.id)
    #expect(try await bench.manager.rotateDue().map(\.plan.standing) == [.notDue])
    #expect(try await !bench.manager.isRotationDue(k))
    #expect(try await bench.manager.rotateDue(now: .now().advanced(by: day)).first?.version != nil)
    await bench.manager.close()
  }

  @Test("one failing key stops no other; a retired one stays retired")
  func others() async throws {
    let bench = try Bench()
    for name in ["a", "b", "c", "retired"] { try await bench.manager.createKey(KeyName(name)) }
    let retired = try #require(try await bench.manager.keyVersions(of: KeyName("retired")).first)
    try await bench.manager.setState(.deactivated, of: retired.id, reason: "no longer used")
    bench.provider.fail(.createVersion, after: 1, with: KMSError(.providerFailed, "full"))
    let later = Timestamp.now().advanced(by: day)
    let results = try await bench.manager.rotateDue(now: later)
    #expect(results.map { $0.error?.code } == [nil, .providerFailed, .providerFailed, nil])
    #expect(results.map(\.plan.standing) == [.due, .due, .due, .inactive])
    bench.provider.fail(.createVersion, with: nil)
    // The pause is over after an hour and a tenth at the latest.
    let again = try await bench.manager.rotateDue(now: later.advanced(by: .seconds(70)))
    #expect(again.map { $0.version != nil } == [true, true, true, false])
    await bench.manager.close()
  }

  @Test(
    "a step that fails: its own record, the report says so, a pause, the old version serves, then it succeeds",
    arguments: [AccessEvent.Operation.createVersion, .wrap, .unwrap, .directEncrypt, .directDecrypt, .setState],
    [true, false])
  func faults(operation: AccessEvent.Operation, hasLog: Bool) async throws {
    let folder = TemporaryFolder()
    let isDirect = [.directEncrypt, .directDecrypt].contains(operation)
    let bench = try Bench(logIn: hasLog ? folder : nil, isDirect: isDirect)
    let (manager, k) = (bench.manager, try KeyName("k"))
    let first = try await manager.createKey(k, purpose: isDirect ? .encrypt : .wrap)
    let sealed = try await manager.encrypt("before")
    let day = Timestamp.now().advanced(by: day)

    bench.provider.fail(operation, with: KMSError(.providerUnavailable, "the token is gone"))
    let failed = try #require(try await manager.rotateDue(now: day).first)
    #expect(failed.error?.code == .providerUnavailable)
    if operation != .unwrap, operation != .directDecrypt {
      #expect(try await manager.decryptString(sealed) == "before")
    }
    bench.provider.fail(operation, with: nil)

    // Serving: what was encrypted opens, and what is encrypted now does.
    #expect(try await manager.decryptString(sealed) == "before")
    let after = try await manager.encrypt("after")
    #expect(try await manager.decryptString(after) == "after")
    if operation != .setState {
      #expect(try await manager.keyVersions(of: k).current == first)
    }

    // Waiting, also for whoever else reads the log. The failure's time is the real one, `day` is not.
    let waiting = try #require(try await manager.rotateDue().first?.plan)
    #expect(operation == .setState ? waiting.standing == .waiting : waiting.standing == .notDue)
    let plans = try await manager.rotationPlans(now: .now())
    #expect(plans.first == waiting)
    if hasLog {
      let report = try await manager.generateTelemetryReport()
      #expect(report.text.contains("rotations     1, 1 failed"))
      #expect(report.text.contains("failed rotations: 1"))
      #expect(report.json().contains("the token is gone"))
      let key = "key k could not be rotated: provider-unavailable, 1 times"
      #expect(report.text.contains(key), "\(report.text)")
    } else {
      let records = bench.reporter.events.filter { $0.operation == .rotate && $0.phase == .outcome }
      #expect(records.map(\.errorCode) == [.providerUnavailable])
      #expect(records.first?.reason == "scheduled" && records.first?.key == k)
    }

    let next = try #require(try await manager.rotateDue(now: day).first)
    #expect(next.error == nil && next.version != nil)
    let active = try await manager.keyVersions(of: k).filter { $0.state == .active }
    #expect(active.map(\.id) == [next.version?.id])
    for (value, text) in [(sealed, "before"), (after, "after")] {
      #expect(try await manager.decryptString(value) == text)
    }
    await manager.close()
  }

  @Test("tried again after 1, 2, 4 … minutes, not before", arguments: [true, false])
  func backoff(hasLog: Bool) async throws {
    let folder = TemporaryFolder()
    let bench = try Bench(logIn: hasLog ? folder : nil)
    let (manager, k) = (bench.manager, try KeyName("k"))
    // As old as the interval, so that real time does: the failures are logged with it.
    let old = NewKeyVersion(key: k, id: .make(now: Timestamp.now().advanced(by: .zero - day)))
    _ = try await bench.provider.createKeyVersion(old)
    bench.provider.fail(.createVersion, with: KMSError(.providerFailed, "full"))
    for failure in 1...8 {
      let before = Timestamp.now()
      await #expect(throws: KMSError(.providerFailed, "")) { try await manager.rotate(k, reason: "by hand") }
      let after = Timestamp.now()
      let pause = min(RotationSchedule.firstPause * (1 << min(failure - 1, 6)), RotationSchedule.longestPause)
      let plan = try #require(try await manager.rotationPlans(now: after).first)
      #expect(plan.standing == .waiting)
      let next = try #require(plan.next)
      #expect(next >= before.advanced(by: pause) && next <= after.advanced(by: pause * 1.1))
      #expect(try await manager.rotateDue(now: after).map(\.error).compactMap(\.self).isEmpty)
      #expect(try await manager.rotationPlans(now: next).first?.standing == .due)
    }
    bench.provider.fail(.createVersion, with: nil)
    try await manager.rotate(k, reason: "by hand")
    #expect(try await manager.rotationPlans().first?.standing == .notDue)
    await manager.close()
  }
}
