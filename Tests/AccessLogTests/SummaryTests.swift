import Foundation
import KMSCore
import Testing

@testable import AccessLog

@Suite struct SummaryTests {
  @Test func dataOperationsBecomeOneRecordAndFailuresNeverDo() async throws {
    let recorder = Recorder()
    let reporter = SummarisingReporter(recorder, interval: .milliseconds(100))
    let (key, version) = (try KeyName("pii"), KeyVersionID.make())
    func event(_ operation: AccessEvent.Operation, by principal: String, error: KMSError.Code? = nil) -> AccessEvent {
      AccessEvent(
        operation, key: key, version: version, access: Access(principal: principal, requestID: "r"),
        errorCode: error, duration: .microseconds(10))
    }
    for _ in 0..<100 {
      try await reporter.report(event(.encrypt, by: "a"))
      try await reporter.report(event(.decrypt, by: "a"))
      try await reporter.report(event(.decrypt, by: "b"))
    }
    for _ in 0..<7 { try await reporter.report(event(.decrypt, by: "a", error: .doesNotOpen)) }
    for _ in 0..<3 { try await reporter.report(event(.unwrap, by: "a")) }
    // These are there at once, each for itself.
    let single = recorder.events.filter { $0.count == nil }
    #expect(single.count { $0.errorCode == .doesNotOpen } == 7 && single.count { $0.operation == .unwrap } == 3)
    #expect(single.count == 10)
    func summed() -> Int { recorder.events.reduce(0) { $0 + ($1.count ?? 0) } }
    for _ in 0..<1000 where summed() < 300 { try await Task.sleep(for: .milliseconds(10)) }
    let sums = recorder.events.filter { $0.count != nil }
    #expect(sums.reduce(0) { $0 + ($1.count ?? 0) } == 300)
    #expect(sums.allSatisfy { $0.recordType == .summary && $0.success && $0.access.requestID == nil })
    #expect(sums.allSatisfy { $0.duration == .microseconds(10) })
    let groups = Set(sums.map { "\($0.operation) \($0.access.principal ?? "")" })
    #expect(groups == ["encrypt a", "decrypt a", "decrypt b"])
    try await reporter.report(event(.encrypt, by: "c"))
    await reporter.seal()
    #expect(recorder.events.last?.access.principal == "c" && recorder.events.last?.count == 1)
  }

  @Test func sumsThatTheLogDoesNotTakeAreKeptAndOperationsFail() async throws {
    let recorder = Recorder()
    recorder.refuse = [.outcome]
    let reporter = SummarisingReporter(recorder, interval: .milliseconds(20))
    var (asked, error) = (0, KMSError?.none)
    while error == nil, asked < 1000 {
      asked += 1
      do { try await reporter.report(AccessEvent(.encrypt)) } catch let failure as KMSError { error = failure }
      try await Task.sleep(for: .milliseconds(10))
    }
    #expect(error?.code == .accessLogUnavailable && asked > 1)
    recorder.refuse = []
    await reporter.seal()
    #expect(recorder.events.map(\.count) == [asked])
  }
}
