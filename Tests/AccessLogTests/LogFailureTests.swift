import CryptoPrimitives
import DurableFiles
import Foundation
import KMSCore
import SystemPackage
import Testing

@testable import AccessLog

/// A sink that fails: nobody is told that an event was taken, and the next one is tried anew.
@Suite struct LogFailureTests {
  private func open(_ path: String) throws -> FileDescriptor {
    try FileDescriptor.open(FilePath(path), .writeOnly, options: .closeOnExec)
  }

  @Test func aFullDiskFailsAndRecovers() async throws {
    try await withFolder { folder in
      let log = try AccessLogFile(
        AccessLogSettings(directory: folder), takingOwnershipOf: try open("/dev/full"))
      let error = await #expect(throws: KMSError.self) { try await log.report(AccessEvent(.wrap)) }
      #expect(error?.code == .accessLogUnavailable && error?.advice.contains("Free space") == true)
      try await log.report(AccessEvent(.unwrap))
      #expect(try readAll(folder).records.map(\.sequence) == [1])
      #expect(try readAll(folder).records.map(\.operation) == [.unwrap])
    }
  }

  @Test func aClosedDescriptorFailsAndRecovers() async throws {
    try await withFolder { folder in
      // A number that no other test can be given meanwhile.
      let null = try open("/dev/null")
      let number = fcntl(null.rawValue, F_DUPFD_CLOEXEC, 900)
      try null.close()
      let log = try AccessLogFile(
        AccessLogSettings(directory: folder), takingOwnershipOf: FileDescriptor(rawValue: number))
      try await log.report(AccessEvent(.wrap))
      try FileDescriptor(rawValue: number).close()
      await #expect(throws: KMSError(.accessLogUnavailable, "")) { try await log.report(AccessEvent(.wrap)) }
      try await log.report(AccessEvent(.wrap))
      #expect(try readAll(folder).records.map(\.sequence) == [2])
    }
  }

  /// Or another process would end the log as that of one that died.
  @Test func aFileThatIsGivenUpIsLockedUntilThereIsAnother() async throws {
    try await withFolder { folder in
      let path = folder.appending("fifo")  // it takes lines, and there is no disk that keeps them
      #expect(unsafe mkfifo(path.string, 0o600) == 0)  // a Swift string, for the call only
      let file = try FileDescriptor.open(path, .readWrite, options: .closeOnExec)
      let other = try FileDescriptor.open(path, .readWrite, options: .closeOnExec)
      defer { try? other.close() }
      #expect(flock(file.rawValue, LOCK_EX | LOCK_NB) == 0)
      let log = try AccessLogFile(
        AccessLogSettings(directory: folder.appending("log"), durability: .synced), takingOwnershipOf: file)
      await #expect(throws: KMSError(.accessLogUnavailable, "")) { try await log.report(AccessEvent(.wrap)) }
      #expect(flock(other.rawValue, LOCK_EX | LOCK_NB) != 0)
      try await log.report(AccessEvent(.wrap))
      #expect(flock(other.rawValue, LOCK_EX | LOCK_NB) == 0)
      await log.close()
    }
  }

  @Test func aFolderThatCannotBeWrittenFailsAndRecovers() async throws {
    try await withFolder { folder in
      let inner = folder.appending("log")
      try Data().write(to: URL(filePath: inner.string))  // a file where the folder should be
      let log = try AccessLogFile(
        AccessLogSettings(directory: inner), takingOwnershipOf: try open("/dev/full"))
      for _ in 0..<3 {
        await #expect(throws: KMSError(.accessLogUnavailable, "")) { try await log.report(AccessEvent(.wrap)) }
      }
      try FileManager.default.removeItem(atPath: inner.string)
      try await log.report(AccessEvent(.wrap))
      #expect(try readAll(inner).records.count == 1)
    }
  }

  /// A pipe takes lines, and there is no disk that keeps them.
  @Test func theIndexIsOnTheDiskWhereTheLogIsSynced() async throws {
    try await withFolder { folder in
      let pipe = try FileDescriptor.pipe()
      defer { for end in [pipe.readEnd, pipe.writeEnd] { try? end.close() } }
      let file = try FileDescriptor.open(
        folder.appending("index"), .writeOnly, options: .create, permissions: .ownerReadWrite)
      defer { try? file.close() }
      let (some, none) = (WriterIndex.hash([0x41]), TreeHasher.empty)
      func append(_ file: FileDescriptor, after last: TreeHash, _ durability: AccessLogSettings.Durability) throws {
        try WriterIndex(folder.appending("gone"), durability).append([0x41], to: .init(file: file, last: last))
      }
      try append(pipe.writeEnd, after: some, .written)
      #expect(throws: KMSError(.accessLogUnavailable, "")) { try append(pipe.writeEnd, after: some, .synced) }
      try append(file, after: some, .synced)
      // Its first line needs the folder too, where it has just been made.
      try append(file, after: none, .written)
      #expect(throws: KMSError(.accessLogUnavailable, "")) { try append(file, after: none, .synced) }
      // Whoever was refused has no line there.
      #expect(try folder.appending("index").bytes == Array("A\nA\n".utf8))
    }
  }

  @Test(.timeLimit(.minutes(2)), arguments: AccessLogSettings.Durability.allCases)
  func aStalledSinkHoldsNobodyBeyondTheDeadline(_ durability: AccessLogSettings.Durability) async throws {
    try await withFolder { folder in
      let pipe = try uninheritedPipe()  // its end is waited for: no other test's process may hold it
      _ = fcntl(pipe.writeEnd.rawValue, setPipeSize, 4096)
      let log = try AccessLogFile(
        AccessLogSettings(directory: folder, durability: durability, deadline: .milliseconds(200)),
        takingOwnershipOf: pipe.writeEnd)
      let clock = ContinuousClock()
      // More than the pipe holds, so that one of them stalls.
      let large = AccessEvent(
        .wrap, access: Access(contextNames: Array(repeating: String(repeating: "x", count: 500), count: 20)))
      let first = Task { try await log.report(large) }
      try await Task.sleep(for: .milliseconds(50))
      await withTaskGroup { group in
        for _ in 0..<4 {
          group.addTask {
            let start = clock.now
            await #expect(throws: KMSError(.accessLogUnavailable, "")) { try await log.report(AccessEvent(.unwrap)) }
            #expect(clock.now - start >= .milliseconds(190))  // and it ends, though the sink is stalled still
          }
        }
      }
      // A thread of the log's own is stalled, not the caller.
      await #expect(throws: KMSError(.accessLogUnavailable, "")) { try await first.value }
      let readEnd = FileHandle(fileDescriptor: pipe.readEnd.rawValue, closeOnDealloc: true)
      let reader = readingToEnd(of: readEnd)  // somebody mends it
      try await retrying { try await log.report(AccessEvent(.health)) }
      await log.close()
      #expect(await reader.value.count > 4096)
    }
  }

  @Test func aRemovedFileIsNoticed() async throws {
    try await withFolder { folder in
      let log = try AccessLogFile(AccessLogSettings(directory: folder))
      try await log.report(AccessEvent(.wrap))
      for name in try files(in: folder) { try FileManager.default.removeItem(atPath: folder.appending(name).string) }
      try await Task.sleep(for: .milliseconds(1100))
      try await log.report(AccessEvent(.unwrap))
      #expect(try readAll(folder).records.map(\.sequence) == [2])
    }
  }

  private func retrying(_ body: () async throws -> Void) async throws {
    for _ in 0..<20 where (try? await body()) == nil { try await Task.sleep(for: .milliseconds(50)) }
    try await body()
  }
}

private let setPipeSize: CInt = 1031  // F_SETPIPE_SZ, which is not imported
