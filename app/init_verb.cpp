#include <fmt/format.h>

#include <filesystem>

#include "app/console.h"
#include "app/init_config.h"
#include "app/verbs.h"
#include "core/file.h"

namespace penstock {

ExitCode run_init(const InitArguments& arguments) {
  const std::string output = arguments.output.empty() ? init_config_name(arguments.model) + ".yaml" : arguments.output;
  std::error_code error;
  if (output != "-" && std::filesystem::exists(output, error) && !arguments.overwrite) {
    throw Error(ExitCode::kBadInput,
                output + ": is there already; give --output another name, or --overwrite to replace it");
  }
  const std::string text = init_config_text({arguments.model, arguments.data});
  if (output == "-") {
    print_result(text);
    return ExitCode::kDone;
  }
  write_text_file(output, text);
  const char* first = arguments.data.empty() ? "set dataset.path in it, then" : "next";
  print_result(fmt::format("{}\n{}: {} train {}", output, first, arguments.program, output));
  return ExitCode::kDone;
}

}  // namespace penstock
