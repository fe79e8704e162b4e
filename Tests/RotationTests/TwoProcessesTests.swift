import Foundation
import Strongroom
import TestSupport
import Testing

/// Two processes that rotate one key at the same time, again and again, and encrypt in between.
@Suite(.timeLimit(.minutes(5)))
struct TwoProcessesTests {
  @Test("they agree on one current version, and nothing is unreadable", arguments: Store.Kind.allCases)
  func rotateAtOnce(_ kind: Store.Kind) async throws {
    let store = try Store.make(kind)
    let key = try KeyName("k")
    try await store.withManager { manager in
      try await manager.createKey(key)
      try await store.encrypt("first", with: manager)
    }
    let rounds = kind == .pkcs11 ? 40 : 6  // a key store is derived and written anew for each change
    let probes = try (0..<2).map { _ in
      let (arguments, environment) = store.probe(["loop", "\(rounds)", store.folder.path])
      return try RunningProcess(Store.probe, arguments, environment: environment)
    }
    // This process looks on, with a manager that was there before.
    try await store.withManager { manager in
      for probe in probes {
        while try !probe.lines.contains("done") {
          try probe.checkRunning()
          try await store.encrypt("meanwhile", with: manager)
          try await Task.sleep(for: .milliseconds(20))
        }
      }
    }
    try Data().write(to: URL(filePath: store.folder.path + "/go"))
    var current: [String] = []
    for probe in probes {
      let (status, errors) = (try await probe.end(), try probe.errors)
      #expect(status == 0, "\(errors)")
      let lines = try probe.lines
      #expect(lines.count == rounds + 2)
      current += lines.filter { $0.hasPrefix("current ") }
      for (round, line) in lines.filter({ $0.hasPrefix("value ") }).enumerated() {
        store.note(try #require(bytes(hex: line.dropFirst(6))), "\(probe.id) \(round + 1)")
      }
    }
    #expect(Set(current).count == 1, "\(current)")
    try await store.withManager { manager in
      let versions = try await manager.keyVersions(of: key)
      #expect(versions.count == 2 * rounds + 1)
      #expect(current.first == versions.current.map { "current \($0.id)" })
      try await store.expectAllOpen(with: manager, "after the race")
      #expect(try await manager.rotateDue().map(\.error?.code) == [nil])
      let active = try await manager.keyVersions(of: key).filter { $0.state == .active }
      #expect(active.map { "current \($0.id)" } == [current.first])
    }
  }
}
