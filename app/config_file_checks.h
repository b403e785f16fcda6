// What must hold between keys, and the values that follow from others. Ranges of single keys are checked before.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "app/config_file_syntax.h"
#include "app/config_keys.h"
#include "app/run_config.h"

namespace penstock {

// Which keys the user set (to something other than "unset"), where, and whether the value could be read.
class GivenKeys {
 public:
  void add(const ConfigKey& key, int line, bool readable) { places_[key.full_name()] = {line, readable}; }
  void remove(const std::string& full_name) { places_.erase(full_name); }

  bool given(const std::string& full_name) const { return places_.count(full_name) > 0; }
  // kWholeFile if it was not given.
  int line(const std::string& full_name) const { return given(full_name) ? places_.at(full_name).line : kWholeFile; }
  bool from_command_line(const std::string& full_name) const { return line(full_name) == kCommandLine; }
  // False only for a key that was given a value that could not be read: checks on it would only repeat that.
  bool readable(const std::string& full_name) const { return !given(full_name) || places_.at(full_name).readable; }

 private:
  struct Place {
    int line;
    bool readable;
  };
  std::map<std::string, Place> places_;
};

// Appends every contradiction. Where two keys exclude each other and only one came from the command line, that one wins
// and the other goes back to its default.
void check_run_config(RunConfig& config, GivenKeys& given, DataNeed need, std::vector<ConfigProblem>& problems);

// Fills in what follows from other keys. Only for a config that check_run_config() found nothing against.
void complete_run_config(RunConfig& config, const GivenKeys& given);

}  // namespace penstock
