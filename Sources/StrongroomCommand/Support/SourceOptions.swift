public import ArgumentParser
import DEKStores
import DurableFiles
import Glibc
public import RewrapSources
import Strongroom
import SystemPackage

/// Where the envelopes are that a command goes through.
struct SourceOptions: ParsableArguments {
  @OptionGroup var table: TableOptions
  @OptionGroup var context: ContextOptions

  @Option(
    name: .customLong("table"),
    help: ArgumentHelp("The table of an SQLite file that --column is in.", valueName: "name"))
  var sqliteTable: String?

  @Option(name: .long, help: "What a table is written in: csv or jsonl. Told by the file's name when not given.")
  var format: TextTable.Format?

  @Argument(
    help: ArgumentHelp(
      "Encrypted files, folders of them, DEK stores (SQLite); with --column, tables (CSV, JSON Lines, SQLite).",
      valueName: "path"),
    completion: .file())
  var paths: [String]

  func validate() throws {
    guard sqliteTable == nil || table.isUsed else { throw ValidationError("--table needs --column.") }
    guard format == nil || table.isUsed else { throw ValidationError("--format needs --column.") }
    guard !paths.isEmpty else { throw ValidationError("Name at least one file or folder.") }
  }

  /// The paths in full, for a record that is read elsewhere.
  var places: [String] {
    paths.map { path in
      let suffix =
        table.isUsed ? " (\(sqliteTable.map { "\($0): " } ?? "")\(table.column.joined(separator: ", ")))" : ""
      return absolutePath(path) + suffix
    }
  }

  /// A source that is not open yet, so that one that cannot be opened stops no other.
  struct Source {
    let name: String
    let open: () throws -> any RewrapSource
  }

  /// - Parameter replacement: how files are changed; nil when nothing will be.
  func sources(replacement: FileReplacement?) throws -> [Source] {
    guard table.isUsed else {
      let (stores, paths) = (paths.filter(Self.isStore), paths.filter { !Self.isStore($0) })
      let files = EnvelopeFiles(paths.map { FilePath($0) }, context: try context.value(), replacement: replacement)
      return (paths.isEmpty ? [] : [Source(name: paths.joined(separator: ", ")) { files }])
        + stores.map { name in Source(name: name) { try Self.store(FilePath(name)) } }
    }
    let columns = TableColumns(table.column, rowKey: table.rowKey, context: try context.pairs())
    return paths.map { name in
      Source(name: name) { try self.table(FilePath(name), columns, replacement: replacement) }
    }
  }

  #if SQLite
    private static func isStore(_ path: String) -> Bool { SQLiteDEKStore.isStore(FilePath(path)) }
    private static func store(_ path: FilePath) throws -> any RewrapSource {
      DEKStoreSource(try SQLiteDEKStore(path, mustExist: true), name: path.string)
    }
  #else
    private static func isStore(_ path: String) -> Bool { false }
    private static func store(_ path: FilePath) throws -> any RewrapSource {
      throw KMSError(.notSupported, "this build knows no SQLite files")
    }
  #endif

  private func table(
    _ path: FilePath, _ columns: TableColumns, replacement: FileReplacement?
  ) throws -> any RewrapSource {
    if try isDatabase(path) { return try database(path, columns, isReadOnly: replacement == nil) }
    let isJSON = ["jsonl", "ndjson", "json"].contains(path.extension ?? "")
    return TextTable(
      path, format: format ?? (isJSON ? .jsonl : .csv), columns: columns, isReadOnly: replacement == nil)
  }

  private func database(_ path: FilePath, _ columns: TableColumns, isReadOnly: Bool) throws -> any RewrapSource {
    guard let name = sqliteTable else {
      throw KMSError(.invalidInput, "\(path) is an SQLite file", advice: "Name its table with --table.")
    }
    #if SQLite
      return SQLiteTable(path, table: name, columns: columns, isReadOnly: isReadOnly)
    #else
      throw KMSError(
        .notSupported, "\(path) is an SQLite file, and this build knows none of them (table \(name))",
        advice: "Build it with the package trait SQLite.")
    #endif
  }

  private func isDatabase(_ path: FilePath) throws -> Bool {
    try FileFailure.mapping("read", path) {
      let descriptor = try FileDescriptor.open(path, .readOnly)
      return try descriptor.closeAfter { try descriptor.readFully(upTo: 16) == Array("SQLite format 3\0".utf8) }
    }
  }
}

extension TextTable.Format: ExpressibleByArgument {}

/// How a command changes what it goes through.
struct BulkArguments: ParsableArguments {
  @OptionGroup var sources: SourceOptions
  @OptionGroup var format: JSONOption

  @Flag(name: .long, help: "Do everything but store the result.")
  var dryRun = false

  @Option(name: .long, help: "Items to work on at a time; 2 or more help where the provider is slow.")
  var jobs = 1

  func validate() throws {
    guard (1...256).contains(jobs) else { throw ValidationError("--jobs is 1 to 256.") }
  }

  /// Runs `work` on one source after the other, and prints what came of it.
  func run(
    _ label: String, replacement: FileReplacement = .atomic,
    work: (inout any RewrapSource, BulkOptions, ProgressBar) async throws -> BulkReport
  ) async throws -> BulkReport {
    var report = BulkReport()
    let bar = ProgressBar(label, total: nil, unit: .items)
    defer { bar.finish() }
    let all = try sources.sources(replacement: dryRun ? nil : replacement)
    for each in all {
      do {
        var source = try each.open()
        report += try await work(&source, BulkOptions(isDryRun: dryRun, jobs: jobs), bar)
      } catch let error as KMSError where error.code != .accessLogUnavailable && all.count > 1 {
        report.failures.append((each.name, error))
      }
    }
    return report
  }

  /// - Parameter done: what was done to the items, as a past participle.
  /// What a person or a program reads; failures go to standard error, and make the exit code.
  func print(_ report: BulkReport, done: String) throws {
    if format.json {
      let failed = report.failures.map { failure -> JSONValue in
        .object([("item", .string(failure.name)), ("error", .string(failure.error.description))])
      }
      Terminal.print(
        JSONValue.object([
          ("dry_run", dryRun ? .bool(true) : nil), (done, .integer(Int64(report.changed))),
          ("current_already", .integer(Int64(report.unchanged))), ("passed_over", .integer(Int64(report.passedOver))),
          ("failed", .array(failed)),
        ]).text)
    } else {
      let verb = dryRun ? "would be \(done)" : done
      Terminal.print(
        "\(report.changed) \(verb), \(report.unchanged) current already, \(report.failures.count) failed"
          + passedOverNote(report.passedOver))
    }
    for failure in report.failures { Terminal.note(Terminal.visible("strongroom: \(failure.name): \(failure.error)")) }
    if let first = report.failures.first { throw ExitCode(ExitStatus(first.error.code).rawValue) }
  }
}

/// Says that a folder holds more than envelopes: what is in tables is not seen without naming the columns.
func passedOverNote(_ count: Int) -> String {
  count == 0 ? "" : "; passed over \(count) that \(count == 1 ? "is" : "are") no envelope (tables need --column)"
}

/// `path` from the root on, links followed, where it is there.
private func absolutePath(_ path: String) -> String {
  guard let resolved = unsafe realpath(path, nil) else { return path }  // freed below
  defer { unsafe free(resolved) }  // realpath made it
  return unsafe String(cString: resolved)  // copied at once
}
