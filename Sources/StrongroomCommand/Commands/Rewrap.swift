import ArgumentParser
import DurableFiles
import Strongroom
import SystemPackage

struct Rewrap: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Wrap the content keys of envelopes under the current key versions; bodies stay as they are.",
    discussion: """
      EXAMPLES
        strongroom rewrap backups/*.sealed
        strongroom rewrap people.sealed.csv --column email --column card \\
          --row-key id

      A rewrap does not revoke: an old copy still opens with the old key. After a
      leak, decrypt and encrypt anew. Each file is replaced in one step; what
      cannot be rewrapped is named, and the others go on.
      """)

  @OptionGroup var suite: SuiteOptions
  @OptionGroup var context: ContextOptions
  @OptionGroup var table: TableOptions
  @OptionGroup var format: JSONOption
  @Argument(help: "Encrypted files, or CSV tables with --column.", completion: .file()) var inputs: [String]

  func run() async throws {
    var (changed, current) = (0, 0)
    var failures: [(input: String, error: KMSError)] = []
    try await suite.withManager { manager in
      for input in inputs {
        do {
          if try await rewrap(input, manager) { changed += 1 } else { current += 1 }
        } catch let error as KMSError where error.code != .accessLogUnavailable {
          failures.append((input, error))
        }
      }
    }
    if format.json {
      let failed = failures.map { failure -> JSONValue in
        .object([("file", .string(failure.input)), ("error", .string(failure.error.description))])
      }
      Terminal.print(
        JSONValue.object([
          ("rewrapped", .integer(Int64(changed))), ("current_already", .integer(Int64(current))),
          ("failed", .array(failed)),
        ]).text)
    } else {
      Terminal.print("\(changed) rewrapped, \(current) current already, \(failures.count) failed")
    }
    for failure in failures { Terminal.note("strongroom: \(failure.input): \(failure.error)") }
    if let first = failures.first { throw ExitCode(ExitStatus(first.error.code).rawValue) }
  }

  private func rewrap(_ input: String, _ manager: DataAtRestManager) async throws -> Bool {
    let path = FilePath(input)
    if table.isUsed {
      var changed = false
      try await table.rewrite(input, to: .path(path, replacing: true), context: context.pairs()) { value, context in
        guard let new = try await manager.rewrap(Base64.decode(value), context: context) else { return value }
        changed = true
        return Base64.encode(new)
      }
      return changed
    }
    let start = try FileFailure.mapping("read", path) {
      let descriptor = try FileDescriptor.open(path, .readOnly)
      return try descriptor.closeAfter { try readAtMost(descriptor, 64) }
    }
    guard let kind = EnvelopeKind.detect(start) else {
      throw KMSError(
        .malformedEnvelope, start.isEmpty ? "the file is empty" : "this is no envelope",
        advice: "Nothing was changed; for a table name its columns with --column.")
    }
    guard kind != .file else {
      return try await manager.rewrapFile(path, context: context.value())
    }
    let message = try readFile(path, limit: DataAtRestManager.fieldLimit * 2)
    guard let new = try await manager.rewrap(message, context: context.value()) else { return false }
    try FileEndpoint.path(path, replacing: true).write(new)
    return true
  }

  private func readAtMost(_ descriptor: FileDescriptor, _ count: Int) throws -> [UInt8] {
    unsafe try [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in  // read() fills it
      filled = unsafe try descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))
    }
  }
}
